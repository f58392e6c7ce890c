//! A sample of a family of time series.

use std::sync::Arc;

use super::family::Family;
use crate::stats::Histogram;

/// The largest number of attributes that a family has.
pub(super) const MOST_ATTRIBUTES: usize = 4;

/// The value of one time series at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The family.
    pub family: &'static Family,
    /// The values of the family's attributes, in its order.
    values: [Text; MOST_ATTRIBUTES],
    /// The value.
    pub value: SampleValue,
}

impl Sample {
    pub(super) fn new<const N: usize>(
        family: &'static Family,
        values: [Text; N],
        value: SampleValue,
    ) -> Self {
        debug_assert_eq!(family.attributes.len(), N, "{}", family.name);
        let mut all = [const { Text::EMPTY }; MOST_ATTRIBUTES];
        for (place, value) in all.iter_mut().zip(values) {
            *place = value;
        }
        Self::of(family, all, value)
    }

    /// Makes a sample of all its places for attributes, of which the last ones may be empty.
    pub(super) fn of(
        family: &'static Family,
        values: [Text; MOST_ATTRIBUTES],
        value: SampleValue,
    ) -> Self {
        Self {
            family,
            values,
            value,
        }
    }

    /// Returns the attributes that the sample has, with their values, in the order of the family.
    ///
    /// An attribute without a value is left out: the `function` of an invalidation of a tag.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &Text)> {
        let all = self.family.attributes.iter().zip(&self.values);
        let present = all.filter(|(_, value)| !value.as_str().is_empty());
        present.map(|(attribute, value)| (attribute.name, value))
    }

    /// Returns the value of the attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes()
            .find(|(attribute, _)| *attribute == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The value of a sample, by the kind of its family.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SampleValue {
    /// The value of a counter.
    Counter(u64),
    /// The value of an up-down counter.
    UpDownCounter(i64),
    /// The value of a gauge.
    Gauge(f64),
    /// The value of a histogram. Boxed, because the other values are small and many.
    Histogram(Box<Histogram>),
}

impl SampleValue {
    /// Makes the value of an up-down counter, of a number that fits in practice.
    pub(super) fn up_down(number: impl TryInto<i64>) -> Self {
        Self::UpDownCounter(number.try_into().unwrap_or(i64::MAX))
    }

    /// Makes the value of a gauge of a state that holds or not.
    pub(super) fn state(holds: bool) -> Self {
        Self::Gauge(f64::from(u8::from(holds)))
    }
}

/// The value of an attribute. A clone copies no text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Text {
    /// A text that the program contains.
    Static(&'static str),
    /// A text that was made at run time, such as the name of a function with its types.
    Shared(Arc<str>),
}

impl Text {
    pub(super) const EMPTY: Self = Self::Static("");

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}
