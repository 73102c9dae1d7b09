// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestQuantiles(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for name, test := range map[string]struct {
		values []int
		share  float64
		want   int
	}{
		"of one value every quantile is that value":      {[]int{7}, 0.99, 7},
		"the median of an even number is the lower half": {[]int{4, 1, 3, 2}, 0.5, 2},
		"one of a hundred may be worse than p99":         {hundred, 0.99, 99},
		"the whole is the worst":                         {hundred, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(test.values)
			if got := quantile(test.values, test.share); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if !slices.Equal(before, test.values) {
				t.Error("the values were put in another order")
			}
		})
	}
}

func TestAimsAreMinimaOrMaxima(t *testing.T) {
	for name, test := range map[string]struct {
		result Result
		want   bool
	}{
		"nothing to reach":                   {Result{Value: 9}, true},
		"a ratio at its most":                {Result{Ratio: 1.2, Aim: ratioAtMost(1.2)}, true},
		"a ratio above its most":             {Result{Ratio: 1.21, Aim: ratioAtMost(1.2)}, false},
		"a ratio below its least":            {Result{Ratio: 1.6, Aim: ratioAtLeast(1.7)}, false},
		"a value, whatever the ratio may be": {Result{Value: 29, Ratio: 100, Aim: valueAtMost(30)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.result.reached(); got != test.want {
				t.Errorf("reached: %t, want %t", got, test.want)
			}
		})
	}
}

func TestWrongCountersAreSentences(t *testing.T) {
	r := Result{Counters: Counters{hashes: 3, statusWrites: 12}}
	r.exactly(hashes, 3)
	r.atMost(statusWrites, 12)
	r.exactly(sqlStatements, 0) // there is no such counter
	if len(r.Broken) != 0 {
		t.Errorf("broken: %q, want nothing", r.Broken)
	}
	r.exactly(hashes, 2)
	r.between(statusWrites, 20, 25)
	want := []string{"hashes: 3, want 2", "status writes: 12, want 20 to 25"}
	if !slices.Equal(r.Broken, want) {
		t.Errorf("broken: %q, want %q", r.Broken, want)
	}
}

func TestMetricsAreReadLineByLine(t *testing.T) {
	const body = `# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{group="sharding.io",verb="PATCH"} 12
requests_total{group="",verb="GET"} 1.5e+03
up 1
nonsense
`
	got := maps.Collect(samples(body))
	want := map[sample]float64{
		{"requests_total", `group="sharding.io",verb="PATCH"}`}: 12,
		{"requests_total", `group="",verb="GET"}`}:              1500,
		{"up", ""}: 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	labels := labelsOf(`group="",verb="GET"}`)
	if !maps.Equal(labels, map[string]string{"group": "", "verb": "GET"}) {
		t.Errorf("got the labels %v", labels)
	}
}

func TestFiguresHaveTheirSignificantDigits(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.0123: "0.01", 1.2: "1.20", 12.34: "12.3", 123.4: "123", 2000: "2,000", 1234567.8: "1,234,568",
	} {
		if got := figure(value); got != want {
			t.Errorf("%v is written %q, want %q", value, got, want)
		}
	}
}

func TestAnUnknownRowIsRejectedWithTheKnownOnes(t *testing.T) {
	if _, err := chosen("cold,warm"); err == nil {
		t.Error("it was taken")
	}
	all, err := chosen("")
	if err != nil || slices.Contains(all, "scale") || !slices.Contains(all, "restart") {
		t.Errorf("by default: %v, %v; want all rows but scale", all, err)
	}
}

func TestTheTablesHaveOneFigureACell(t *testing.T) {
	cold := Result{What: "cold", Value: 11.6, Unit: "s", Counters: Counters{hashes: 1000, cpuManager: 14.9}, Aim: ratioAtMost(0.6)}
	cold.against(22.6, "N × bcrypt ÷ cores")
	memory := Result{What: "resident", Value: 115, Unit: "MiB"}
	memory.beside("peak, MiB", 154)
	var written strings.Builder
	(&Report{Results: []Result{cold, memory}}).table(&written)
	_, got, _ := strings.Cut(written.String(), "\n\n")
	want := `| what | measured | limit | what the limit is | ratio | aim | result |
| --- | --- | --- | --- | --- | --- | --- |
| cold | 11.6 s | 22.6 s | N × bcrypt ÷ cores | 0.51 | ≤ 0.60 | reached |
| resident | 115 MiB |  |  |  |  |  |

| what | hashes |
| --- | --- |
| cold | 1,000 |

| what | CPU manager |
| --- | --- |
| cold | 14.9 s |

| what | other figure | value |
| --- | --- | --- |
| resident | peak, MiB | 154 |

`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
