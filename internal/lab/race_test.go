//go:build race

package lab_test

// raced: the detector makes clients several times slower.
const raced = true
