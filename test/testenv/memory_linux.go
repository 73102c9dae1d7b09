// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os"
	"path/filepath"
	"syscall"
)

const (
	memoryFolder = "/dev/shm"

	// enoughMemory is the free space that a folder in memory must have, for databases of 8 MB each and the write-ahead log.
	enoughMemory = 4 << 30

	magicTmpfs = 0x01021994 // see statfs(2)
	flagNoExec = 0x8
)

// inMemory returns a folder in memory with enough space, from which programs can run; "" if there is none.
func inMemory() string { return fitting(memoryFolder, enoughMemory) }

// fitting returns the folder if it is in memory with this much free space, and programs can run from it; otherwise "".
func fitting(folder string, space uint64) string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil || fs.Type != magicTmpfs || fs.Flags&flagNoExec != 0 {
		return ""
	}
	if fs.Bavail*uint64(fs.Bsize) < space { //nolint:gosec // the block size is not negative
		return ""
	}
	probe, err := os.MkdirTemp(folder, "shardinguser-probe-")
	if err != nil {
		return ""
	}
	_ = os.Remove(probe)
	return filepath.Clean(folder)
}
