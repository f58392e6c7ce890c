//! How far samples tell functions apart.

/// The value of the attribute `function` in samples of all functions together.
pub(crate) const ALL_FUNCTIONS: &str = "*";

/// How far the samples of a runtime tell functions apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsDetail {
    /// Each function has samples of its own.
    #[default]
    Functions,
    /// The samples are of all functions together, whose name in them is `*`.
    Runtime,
}
