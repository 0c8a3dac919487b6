// Package config reads postern.toml: the schema as one table, strict parsing,
// defaults, and every problem with its file, line and column.
//
// Three shapes: File is the file as written, each key and value with its
// position; Checked is what the program may use (typed, defaults applied,
// paths absolute, references followed); a list of Problem says what is wrong
// with the file, all at once and in its order. Each package of the program has
// a Config of its own: only app maps Checked to those.
//
// It never starts a goroutine, opens a socket or writes a file. It reads the
// file, the secrets and maps the file names, and looks whether directories
// exist.
package config
