// Package storetest lets tests of rooms run on every database that the store
// works with. A test opens its store at [Where]; [Again] runs a package's
// tests once more, on PostgreSQL. [Server] starts one of the test's own.
package storetest
