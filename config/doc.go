// Package config turns one YAML file, the environment and flags into one
// checked Config.
//
// A key has one row in the table of keys.go: its path, its type with the rule
// that values must keep, its default, and what it is for. The checker, the
// commented example and the reference of all keys come from that table, so they
// cannot disagree.
//
// # Precedence
//
// A flag wins over the environment, the environment over the file, the file
// over the default. Lists and lists of objects are replaced whole, never merged.
//
// # Environment
//
// The variable of a key is PARLEY_ and its path in capitals, dots as
// underscores: gateway.limits.connections is PARLEY_GATEWAY_LIMITS_CONNECTIONS.
// Lists of words are separated by commas; lists of objects are written as YAML
// (JSON is YAML). PARLEY_CONFIG names the file.
//
// # Errors
//
// All problems are reported at once, each with its place, the key's path, what
// is wrong and the rule:
//
//	parley.yaml:12: gateway.limits.connections: 0 is not allowed; give a number from 1 to 10,000,000
package config
