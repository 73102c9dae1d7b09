// SPDX-License-Identifier: Apache-2.0

package memory

import "context"

// Fresh reports whether there is no row, and never was an ownership record. The only error is that of the context.
func (s *Store) Fresh(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows) == 0 && s.revision == 0, nil
}
