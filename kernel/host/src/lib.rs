//! The model host as a process: its socket, its clients, their requests and its life span. What a
//! request does is the business of a [`Serve`], which the `warmcell` binary builds on the engine and
//! the tests on a toy.

pub mod client;
mod connection;
mod error;
mod listener;
mod place;
mod registry;
mod server;

pub use error::{HostError, Result};
pub use place::{default_socket, prepare_folder};
pub use server::{HostConfig, Serve, serve};
