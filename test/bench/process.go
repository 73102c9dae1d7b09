// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// clockTicks is the unit of CPU times on Linux, in parts of a second, on every machine that Go runs on.
const clockTicks = 100

// cpuOf returns the CPU time of a process until now, in seconds.
func cpuOf(pid int) (float64, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	return ticks(fields[11:13])
}

// cpuOfTree returns the CPU time of a process and its children, including those that ended.
func cpuOfTree(pid int) (float64, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	sum, err := ticks(fields[11:15])
	if err != nil {
		return 0, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, path := range all {
		child, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		fields, err := stat(child)
		if err != nil || fields[1] != strconv.Itoa(pid) {
			continue // gone, or of another user
		}
		own, err := ticks(fields[11:13])
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// stat returns the fields of /proc/PID/stat from the third on: state, parent, and from [11] on utime, stime, cutime,
// cstime.
func stat(pid int) ([]string, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read the CPU time of a process: %w", err)
	}
	// The second field is the name in parentheses, which can contain anything.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("read the CPU time of a process: %d fields", len(fields))
	}
	return fields, nil
}

func ticks(fields []string) (seconds float64, err error) {
	for _, field := range fields {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of a process: %w", err)
		}
		seconds += n / clockTicks
	}
	return seconds, nil
}

// residentOf returns the current and the maximum resident memory of a process, in MiB.
func residentOf(pid int) (now, peak float64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		name, rest, _ := strings.Cut(line, ":")
		var at *float64
		switch name {
		case "VmRSS":
			at = &now
		case "VmHWM":
			at = &peak
		default:
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the memory of a process: %w", err)
		}
		*at = kib / 1024
	}
	return now, peak, nil
}
