//go:build race

package mqtt

// raceEnabled: the detector allocates on its own, so allocations are not judged.
const raceEnabled = true
