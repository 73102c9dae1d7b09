// SPDX-License-Identifier: Apache-2.0

package bcrypt

import "fmt"

// answers are test hashes of Openwall's crypt_blowfish, John the Ripper and others, of cost 5.
var answers = [Lanes]struct{ password, hash string }{
	{"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
		"$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
	},
	{"\xa3", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"},
	{"U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"},
}

// Verify checks known hashes with each number of lanes and returns where one is wrong. Crypt is [Crypt] except in
// tests. It takes some milliseconds.
func Verify(crypt func([]*Job)) error {
	for n := 1; n <= Lanes; n++ {
		var jobs []*Job
		for _, answer := range answers[:n] {
			setting, err := Parse(answer.hash)
			if err != nil {
				return err
			}
			jobs = append(jobs, &Job{Password: []byte(answer.password), Setting: setting})
		}
		crypt(jobs)
		for lane, job := range jobs {
			if job.Hash != answers[lane].hash {
				return fmt.Errorf("bcrypt: a known hash comes out wrong in lane %d of %d", lane+1, n)
			}
		}
	}
	return nil
}
