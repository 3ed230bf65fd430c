// Package proc reads what Linux says about a process and the machine: CPU time,
// resident memory, system calls, and what else was running meanwhile. Sources:
// proc(5), the files named at each function.
package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Tick is the unit of CPU time in /proc. USER_HZ is 100 on every architecture
// Linux runs Go on; it is part of the kernel's interface to user space.
const Tick = 10 * time.Millisecond

// ErrFormat is returned, wrapped, when a file is not as proc(5) says.
var ErrFormat = errors.New("unexpected format")

// Usage is what a process has used since it started.
type Usage struct {
	CPU      time.Duration // user and system time of all its threads
	RSS      int64         // resident memory in bytes
	Anon     int64         // of it what is the process' own, not mapped from files
	Reads    int64         // read-like system calls; receives are not among them
	Writes   int64         // write-like system calls; sends are not among them
	Threads  int
	Switches int64 // voluntary and involuntary context switches of the main thread
}

// Read takes the usage of a process. Reads and Writes stay 0 where /proc/pid/io
// may not be read.
func Read(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return Usage{}, err
	}
	u := Usage{}
	if u.CPU, u.Threads, err = parseStat(string(stat)); err != nil {
		return Usage{}, fmt.Errorf("%sstat: %w", dir, err)
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return Usage{}, err
	}
	fields := parseFields(string(status))
	u.RSS, u.Anon = fields["VmRSS"]*1024, fields["RssAnon"]*1024
	u.Switches = fields["voluntary_ctxt_switches"] + fields["nonvoluntary_ctxt_switches"]
	if io, err := os.ReadFile(dir + "io"); err == nil {
		fields := parseFields(string(io))
		u.Reads, u.Writes = fields["syscr"], fields["syscw"]
	}
	return u, nil
}

// parseStat takes utime, stime and num_threads (fields 14, 15 and 20) from
// /proc/pid/stat. The name in field 2 may hold spaces and parentheses, so
// counting starts behind the last closing one.
func parseStat(stat string) (cpu time.Duration, threads int, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, fmt.Errorf("no name in parentheses: %w", ErrFormat)
	}
	const first = 3 // the number of the first field behind the name
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= 20-first {
		return 0, 0, fmt.Errorf("%d fields behind the name: %w", len(fields), ErrFormat)
	}
	var n [3]int64
	for i, field := range []int{14, 15, 20} {
		if n[i], err = strconv.ParseInt(fields[field-first], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("field %d: %w", field, ErrFormat)
		}
	}
	return time.Duration(n[0]+n[1]) * Tick, int(n[2]), nil
}

// parseFields reads lines of "name: number unit"; others are passed over.
func parseFields(text string) map[string]int64 {
	fields := make(map[string]int64)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		words := strings.Fields(value)
		if len(words) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(words[0], 10, 64); err == nil {
			fields[name] = n
		}
	}
	return fields
}

// Busy is the CPU time that the whole machine has spent working since it
// started: neither idle nor waiting for a disk (/proc/stat, first line).
func Busy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(string(stat))
}

func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %w", ErrFormat)
	}
	var sum int64
	for i, field := range fields[1:9] { // guest time is counted in user already
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat field %d: %w", i+1, ErrFormat)
		}
		if i != 3 && i != 4 { // idle, iowait
			sum += n
		}
	}
	return time.Duration(sum) * Tick, nil
}

// Descendant finds a process called name among pid and those that it has
// started, and they; pid itself if there is none.
func Descendant(pid int, name string) int {
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		dir := "/proc/" + strconv.Itoa(todo[0]) + "/"
		if comm, err := os.ReadFile(dir + "comm"); err == nil && strings.TrimSpace(string(comm)) == name {
			return todo[0]
		}
		children, _ := os.ReadFile(dir + "task/" + strconv.Itoa(todo[0]) + "/children")
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				todo = append(todo, n)
			}
		}
	}
	return pid
}
