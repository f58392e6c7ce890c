//! Promises, one module each.
mod macros;
