//! Tests of the engine's parts together.

mod hub;
