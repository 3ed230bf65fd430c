// Package persisttest is the suite that every implementation of persist.Store
// passes. It is imported by tests only.
//
// What the contract leaves open is left open here too: gaps between offsets,
// how much of what may be trimmed is trimmed, and whether Commit returns before
// or after done.
package persisttest
