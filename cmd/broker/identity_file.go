package main

import "errors"

func checkAuthFile(string) error { return errors.New("not wired") }
