//! The model host as its clients see it: real sockets, real processes, a toy in the model's place.

mod clients;
mod library;
mod life;
mod progress;
mod support;
