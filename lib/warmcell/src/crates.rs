//! Crates that values of this one are made of, so that the type of each has a path: a cell that keeps a variable
//! has to write it.

pub use ::display;
pub use wire;
