//! The library without a model: what a cell shows, asks and reports. Its calls of the model host are
//! tested in `kernel/host`, against a host.

mod displays;
mod ends;
mod tools;
mod unsafe_report;
