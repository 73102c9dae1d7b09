#!/usr/bin/env bash
# Draws some steps of the demo as a terminal shows them, for README.md.
#
#   demo-picture.sh OUTPUT PICTURE.svg [STEP...]
#
# OUTPUT is the output of `make demo STAY=0`. STEP is the number of a step; the default is the lockout and the unlock.
set -euo pipefail

output=$1
picture=$2
steps=${*:3}

mkdir -p "$(dirname -- "$picture")"
awk -v steps="${steps:-3 4}" '
	function add(text, kind) {
		lines[++count] = text
		kinds[count] = kind
		if (length(text) > widest) widest = length(text)
	}
	BEGIN {
		columns = 118 # the table of kubectl get shardingusers
		split(steps, numbers, " ")
		for (i in numbers) wanted[numbers[i]] = 1
	}
	# A heading begins a step. After the last step, an unindented line ends it.
	/^[0-9]+\/[0-9]+  / { shown = substr($0, 1, index($0, "/") - 1) in wanted; kind = "heading" }
	!/^[0-9]+\/[0-9]+  / { kind = "" }
	/^[^ ]/ && kind != "heading" { shown = 0 }
	!shown { next }
	/^   \$ / { kind = "command" }
	/^   ✓ / { kind = "good" }
	/^   ✗ / { print "demo-picture: a step failed: " $0 >"/dev/stderr"; failed = 1; exit 1 }
	# Lines with more indentation continue a command.
	kind == "" && before == "command" && /^     / { kind = "command" }
	{
		before = kind
		text = $0
		while (length(text) > columns) { # wrapped, as a terminal would
			at = columns
			while (at > 1 && substr(text, at, 1) != " ") at--
			if (at <= 3) break
			add(substr(text, 1, at - 1), kind)
			text = "   " substr(text, at + 1)
		}
		add(text, kind)
	}
	END {
		if (failed) exit 1
		while (count > 0 && lines[count] == "") count--
		if (count == 0) {
			print "demo-picture: the output has no such steps" >"/dev/stderr"
			exit 1
		}
		size = 13; line = 18; edge = 16
		width = int(widest * size * 0.61) + 2 * edge
		height = count * line + 2 * edge
		printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", width, height, width, height
		print "<title>Output of make demo</title>"
		print "<style>"
		printf "text { font: %dpx ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d6deeb; white-space: pre }\n", size
		print ".heading { fill: #ffffff; font-weight: bold }"
		print ".command { fill: #7fdbca }"
		print ".good { fill: #a5d66f }"
		print "</style>"
		print "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#011627\"/>"
		for (i = 1; i <= count; i++) {
			text = lines[i]
			if (text == "") continue
			gsub(/&/, "\\&amp;", text)
			gsub(/</, "\\&lt;", text)
			gsub(/>/, "\\&gt;", text)
			class = kinds[i] == "" ? "" : sprintf(" class=\"%s\"", kinds[i])
			printf "<text x=\"%d\" y=\"%d\"%s xml:space=\"preserve\">%s</text>\n", edge, edge + i * line - 5, class, text
		}
		print "</svg>"
	}
' "$output" >"$picture"
