// Package persisttest is the suite that every implementation of persist.Store
// passes. It is imported by tests only.
package persisttest
