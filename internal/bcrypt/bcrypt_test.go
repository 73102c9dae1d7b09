// SPDX-License-Identifier: Apache-2.0

package bcrypt

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	reference "golang.org/x/crypto/bcrypt"
)

// vectors are published by jBCrypt (cost 6 to 12, with those of OpenBSD) and crypt_blowfish (cost 5).
var vectors = []struct{ password, hash string }{
	{"", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."},
	{"", "$2a$08$HqWuK6/Ng6sg9gQzbLrgb.Tl.ZHfXLhvt/SgVyWhQqgqcZ7ZuUtye"},
	{"", "$2a$10$k1wbIrmNyFAPwPVPSVa/zecw2BCEnBwVS2GbrmgzxFUOqW9dk4TCW"},
	{"", "$2a$12$k42ZFHFWqBp3vWli.nIn8uYyIkbvYRvodzbfbK18SSsY.CsIQPlxO"},
	{"a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"},
	{"a", "$2a$08$cfcvVd2aQ8CMvoMpP2EBfeodLEkkFJ9umNEfPD18.hUF62qqlC/V."},
	{"a", "$2a$10$k87L/MF28Q673VKh8/cPi.SUl7MU/rWuSiIDDFayrKk/1tBsSQu4u"},
	{"abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"},
	{"abc", "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi"},
	{"abcdefghijklmnopqrstuvwxyz", "$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC"},
	{"abcdefghijklmnopqrstuvwxyz", "$2a$10$fVH8e28OQRj9tqiDXs1e1uxpsjN0c7II7YPKXua2NAKYvM6iQk7dq"},
	{"abcdefghijklmnopqrstuvwxyz", "$2a$12$D4G5f18o7aMMfwasBL7GpuQWuP3pkrZrOAnqP.bmezbMng.QwJ/pG"},
	{"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO"},
	{"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$08$Eq2r4G/76Wv39MzSX262huzPz612MZiYHVUJe/OcOql2jo4.9UxTW"},
	{"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$10$LgfYWkbzEvQ4JakH7rOvHe0y8pHKF9OaFgwUZ2q7W2FFZmZzJYlfS"},
	{"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$12$WApznUOJfkEGSmYRfnkrPOr466oFDCaj4b6HY3EXGvfxm43seyhgC"},
	{"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"},
	{"U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"},
	{"", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"},
	{
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored",
		"$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
	},
	{"\xa3", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"},
	{"\xff\xa3345", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.nRht2l/HRhr6zmCp9vYUvvsqynflf9e"},
	{"\xa3ab", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.6IflQkJytoRVc1yuaNtHfiuq.FRlSIS"},
	{"\xa3", "$2b$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"},
	{"\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"},
}

// Vectors of one cost are computed together, in batches of each size.
func TestPublishedVectors(t *testing.T) {
	byCost := map[int][]*Job{}
	want := map[*Job]string{}
	for _, v := range vectors {
		job := &Job{Password: []byte(v.password), Setting: parse(t, v.hash)}
		want[job] = v.hash
		byCost[job.Setting.Cost()] = append(byCost[job.Setting.Cost()], job)
	}
	for cost, jobs := range byCost {
		for n := 1; len(jobs) > 0; n = n%Lanes + 1 {
			batch := jobs[:min(n, len(jobs))]
			jobs = jobs[len(batch):]
			Crypt(batch)
			for i, job := range batch {
				if job.Hash != want[job] {
					t.Errorf("cost %d, lane %d of %d: %q gives %s, want %s", cost, i+1, len(batch), job.Password, job.Hash, want[job])
				}
			}
		}
	}
}

func parse(t testing.TB, hash string) Setting {
	t.Helper()
	setting, err := Parse(hash)
	if err != nil {
		t.Fatalf("Parse(%q): %v", hash, err)
	}
	return setting
}

// agrees fails the test if the reference computes another hash for a job.
func agrees(t *testing.T, job *Job) {
	t.Helper()
	if got := job.Hash; len(got) != 60 || !strings.HasPrefix(got, job.Setting.text) {
		t.Errorf("a hash of %d characters: %s", len(got), got)
	} else if err := reference.CompareHashAndPassword([]byte(got), job.Password); err != nil {
		t.Errorf("%q: %s: %v", job.Password, got, err)
	}
}

// Passwords of each length and any bytes, in batches of each size.
func TestEachHashEqualsTheReference(t *testing.T) {
	random := rand.NewChaCha8([32]byte{20, 26, 11, 24})
	length := 0
	for n := 1; length <= 80; n = n%Lanes + 1 {
		var batch []*Job
		for range n {
			password := make([]byte, length)
			_, _ = random.Read(password) // never fails
			batch = append(batch, &Job{Password: password, Setting: NewSetting(MinCost)})
			length++
		}
		Crypt(batch)
		for _, job := range batch {
			agrees(t, job)
		}
	}
}

// Costs beyond those of the published vectors, in both directions.
func TestOtherCosts(t *testing.T) {
	for _, cost := range []int{4, 7, 9, 11} {
		password := []byte("correct horse battery staple")
		theirs, err := reference.GenerateFromPassword(password, cost)
		if err != nil {
			t.Fatal(err)
		}
		batch := []*Job{{Password: password, Setting: NewSetting(cost)}, {Password: password, Setting: parse(t, string(theirs))}}
		Crypt(batch)
		agrees(t, batch[0])
		if batch[1].Hash != string(theirs) {
			t.Errorf("cost %d: %s, want %s", cost, batch[1].Hash, theirs)
		}
	}
}

// The reference computed these hashes. It is not run here, because it takes ten times as long under the race detector.
func TestHighestCosts(t *testing.T) {
	for _, hashes := range [][]string{
		{"$2a$13$lHA4SBXj8gKM7PoS1C0Z4.9gt9h2C/gHeOMOkdxZyg.TAVoxDC9E.", "$2a$13$RBedCj7NAaAtZ.V2cQpoju6MHBR3ly2.Mmn45nqD1MimFN131XrK."},
		{"$2a$14$qgWJZdeFAMsR4rRhuVxhUuN1vwi/Cu1CHp39mUBqymDtKNE/Hc/LK", "$2a$14$YwK55iH9TRMy.gGgCVzK7u.JwXsqM56QCfm/Cz/iIXSKlw9RYWrMi"},
	} {
		batch := []*Job{
			{Password: []byte("correct horse battery staple"), Setting: parse(t, hashes[0])},
			{Password: []byte("\u00e4 second one"), Setting: parse(t, hashes[1])},
		}
		Crypt(batch)
		for i, job := range batch {
			if job.Hash != hashes[i] {
				t.Errorf("%q gives %s, want %s", job.Password, job.Hash, hashes[i])
			}
		}
	}
}

func FuzzCrypt(f *testing.F) {
	f.Add([]byte("a"), []byte("b"), []byte(""), []byte("\x00\xff"), []byte("0123456789abcdef"), 4)
	f.Add([]byte(strings.Repeat("x", 72)), []byte(strings.Repeat("\xff", 73)), []byte("ab\x00ab"), []byte("ab"), []byte{}, 3)
	f.Fuzz(func(t *testing.T, a, b, c, d, salt []byte, n int) {
		setting := NewSetting(MinCost)
		copy(setting.salt[:], salt)
		setting.text = setting.text[:7] + encoding.EncodeToString(setting.salt[:])
		batch := []*Job{{Password: a}, {Password: b}, {Password: c}, {Password: d}}[:1+uint(n)%Lanes]
		for _, job := range batch {
			job.Setting = setting
		}
		Crypt(batch)
		for _, job := range batch {
			agrees(t, job)
		}
	})
}

// The reference understands what Parse accepts in the same way.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.hash)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		setting, err := Parse(hash)
		if err != nil {
			return
		}
		if cost, err := reference.Cost([]byte(hash)); err != nil || cost != setting.Cost() || setting.text != hash[:29] {
			t.Fatalf("Parse(%q) has cost %d and text %s, the reference cost %d: %v", hash, setting.Cost(), setting.text, cost, err)
		}
	})
}

func TestParseRejects(t *testing.T) {
	const tail = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
	parse(t, "$2a$10$"+tail)
	for name, hash := range map[string]string{
		"nothing":                 "",
		"another scheme":          "$1a$10$" + tail,
		"the faulty version $2x$": "$2x$10$" + tail,
		"the old version $2$":     "$2$10$" + tail + "x",
		"cost 3":                  "$2a$03$" + tail,
		"cost 32":                 "$2a$32$" + tail,
		"a cost with a sign":      "$2a$+9$" + tail,
		"a cost without digits":   "$2a$1_$" + tail,
		"a missing dollar":        "$2a$100" + tail,
		"a newline in salt":       "$2a$10$\n" + tail[1:],
		"another alphabet":        "$2a$10$+" + tail[1:],
		"59 characters":           "$2a$10$" + tail[1:],
		"61 characters":           "$2a$10$" + tail + "x",
		"a setting by itself":     ("$2a$10$" + tail)[:29],
		"60 dollar signs":         strings.Repeat("$", 60),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(hash); err == nil {
				t.Errorf("Parse(%q) accepted it", hash)
			}
		})
	}
}

// The last character of a salt has four spare bits. A hash with some of them set is valid for the reference, and so
// here.
func TestSaltKeepsItsSpareBits(t *testing.T) {
	password := []byte("secret")
	theirs, err := reference.GenerateFromPassword(password, MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hash := theirs
	hash[28]++ // a created hash has '.', 'O', 'e' or 'u' there
	if err := reference.CompareHashAndPassword(hash, password); err != nil {
		t.Fatal(err)
	}
	job := &Job{Password: password, Setting: parse(t, string(hash))}
	Crypt([]*Job{job})
	if job.Hash != string(hash) {
		t.Errorf("%s, want %s", job.Hash, hash)
	}
}

func TestNewSettingHasANewSalt(t *testing.T) {
	one, other := NewSetting(12), NewSetting(12)
	if one.text == other.text || !strings.HasPrefix(one.text, "$2a$12$") || len(one.text) != 29 {
		t.Errorf("settings %q and %q", one.text, other.text)
	}
	if again := parse(t, one.text+strings.Repeat(".", 31)); again != one {
		t.Errorf("%+v read back is %+v", one, again)
	}
}

func TestMisusePanics(t *testing.T) {
	job := func(cost int) *Job { return &Job{Setting: NewSetting(cost)} }
	for name, misuse := range map[string]func(){
		"no job":                  func() { Crypt(nil) },
		"five jobs":               func() { Crypt([]*Job{job(4), job(4), job(4), job(4), job(4)}) },
		"different costs":         func() { Crypt([]*Job{job(4), job(5)}) },
		"no setting":              func() { Crypt([]*Job{{}}) },
		"a cost that is too low":  func() { NewSetting(3) },
		"a cost that is too high": func() { NewSetting(32) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			misuse()
		})
	}
}

func TestVerify(t *testing.T) {
	if err := Verify(Crypt); err != nil {
		t.Error(err)
	}
}

// A fault in any lane is found, for each number of lanes.
func TestVerifyFindsAFault(t *testing.T) {
	for n := 1; n <= Lanes; n++ {
		for lane := range n {
			err := Verify(func(jobs []*Job) {
				Crypt(jobs)
				if len(jobs) == n {
					jobs[lane].Hash = jobs[lane].Hash[:59] + "."
				}
			})
			if want := fmt.Sprintf("in lane %d of %d", lane+1, n); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Verify = %v, want an error %s", err, want)
			}
		}
	}
}

// The test uses Machin's formula: π/4 = 4 arctan 1/5 - arctan 1/239.
func TestPi(t *testing.T) {
	const guard = 64
	bits := uint(32 * tableSize)
	one := new(big.Int).Lsh(big.NewInt(1), bits+guard)
	arctan := func(inverse int64) *big.Int { // of 1/inverse, in units of 1/one
		power := new(big.Int).Quo(one, big.NewInt(inverse))
		square, sum, term := big.NewInt(-inverse*inverse), new(big.Int), new(big.Int)
		for n := int64(1); power.Sign() != 0; n += 2 {
			sum.Add(sum, term.Quo(power, big.NewInt(n)))
			power.Quo(power, square)
		}
		return sum
	}
	sum := arctan(5)
	sum.Lsh(sum, 2).Sub(sum, arctan(239)).Lsh(sum, 2)
	sum.Sub(sum, new(big.Int).Mul(one, big.NewInt(3))).Rsh(sum, guard)
	if got := strings.ReplaceAll(piText, "\n", ""); got != fmt.Sprintf("%0*x", bits/4, sum) {
		t.Error("pi.txt does not hold π")
	}
}
