//! The tests are in files of their own; there is no library.
