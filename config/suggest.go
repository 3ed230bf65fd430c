package config

import "strings"

// didYouMean names the candidate nearest to an unknown name, or lists all if
// none is near.
func didYouMean(name string, candidates []string) string {
	if best := nearest(name, candidates); best != "" {
		return "did you mean " + best + "?"
	}
	return "known are " + strings.Join(candidates, ", ")
}

// longestName is the longest name that suggestions are made for, in bytes.
const longestName = 100

// nearest returns the candidate with the fewest edits to name, or "" if none is
// near enough to be meant. A candidate in another section counts if its last
// word is near.
func nearest(name string, candidates []string) string {
	if len(name) > longestName {
		return "" // no typing error, and comparing it would take long
	}
	best, least := "", 1+max(2, len(name)/4)
	lastWord := name[strings.LastIndexByte(name, '.')+1:]
	for _, c := range candidates {
		if d := edits(strings.ToLower(name), strings.ToLower(c)); d < least {
			best, least = c, d
		}
		if last := c[strings.LastIndexByte(c, '.')+1:]; last != c && len(lastWord) > 2 {
			if d := 1 + edits(strings.ToLower(lastWord), strings.ToLower(last)); d < least && d <= 1+len(lastWord)/4 {
				best, least = c, d
			}
		}
	}
	return best
}

// edits is the Levenshtein distance in bytes (Wagner and Fischer, 1974), with
// one row of memory.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
