//go:build !linux

package lab

import "testing"

const envTest = "POSTERN_LAB_TEST"

func outside(t *testing.T) { lacking(t, nil, "Linux") }

func inside(t *testing.T) *Lab {
	lacking(t, nil, "Linux")
	return nil
}
