package playground

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Text has a contrast of at least 4.5:1 to what is behind it, and edges of
// controls 3:1, in both colour schemes (WCAG 2.2, 1.4.3 and 1.4.11).
func TestContrast(t *testing.T) {
	css := string(load()["playground.css"].content)
	light, dark, ok := strings.Cut(css, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("the style sheet has no dark scheme")
	}
	dark, _, _ = strings.Cut(dark, "* {")
	pairs := []struct {
		front, back string
		least       float64
	}{
		{"ink", "page", 4.5}, {"ink", "card", 4.5}, {"ink", "field", 4.5}, {"ink", "neutral-wash", 4.5},
		{"soft", "page", 4.5}, {"soft", "card", 4.5}, {"soft", "field", 4.5},
		{"error", "card", 4.5}, {"good", "card", 4.5}, {"accent", "page", 4.5}, {"accent", "card", 4.5}, {"accent-ink", "accent", 4.5},
		{"mqtt", "card", 4.5}, {"wamp", "card", 4.5}, {"json", "card", 4.5},
		{"mqtt", "mqtt-wash", 4.5}, {"wamp", "wamp-wash", 4.5}, {"json", "json-wash", 4.5},
		{"field-line", "field", 3}, {"field-line", "card", 3},
	}
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(text, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, p := range pairs {
			a, aOK := colours[p.front]
			b, bOK := colours[p.back]
			if !aOK || !bOK {
				t.Errorf("%s: no colour %s or %s", scheme, p.front, p.back)
				continue
			}
			if c := (max(a, b) + 0.05) / (min(a, b) + 0.05); c < p.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme, p.front, p.back, c, p.least)
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(v uint64) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(n>>16) + 0.7152*channel(n>>8) + 0.0722*channel(n)
}
