//! The errors of the attribute. The cases are in `pass` and `fail`, and `ui.rs` compiles them.
