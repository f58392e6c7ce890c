//! The list of samples, as it is collected.

use super::family::Family;
use super::sample::{MOST_ATTRIBUTES, Sample, SampleValue, Text};
use crate::stats::Histogram;

/// The samples that were collected so far.
#[derive(Debug)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(super) fn into_vec(self) -> Vec<Sample> {
        self.0
    }

    pub(super) fn push<const N: usize>(
        &mut self,
        family: &'static Family,
        attributes: [Text; N],
        value: SampleValue,
    ) {
        self.0.push(Sample::new(family, attributes, value));
    }

    /// Adds a counter of a family that has one attribute.
    pub(super) fn count(&mut self, family: &'static Family, attribute: &Text, number: u64) {
        self.push(family, [attribute.clone()], SampleValue::Counter(number));
    }

    /// Adds a counter for each value of the last attribute of a family. `attributes` are the values
    /// of the others.
    pub(super) fn count_each<const N: usize>(
        &mut self,
        family: &'static Family,
        attributes: &[Text],
        numbers: [(&'static str, u64); N],
    ) {
        debug_assert_eq!(family.attributes.len(), attributes.len() + 1);
        for (last, number) in numbers {
            let mut all = [const { Text::EMPTY }; MOST_ATTRIBUTES];
            all[..attributes.len()].clone_from_slice(attributes);
            all[attributes.len()] = last.into();
            self.0
                .push(Sample::of(family, all, SampleValue::Counter(number)));
        }
    }

    pub(super) fn push_histogram<const N: usize>(
        &mut self,
        family: &'static Family,
        attributes: [Text; N],
        histogram: &Histogram,
    ) {
        let value = SampleValue::Histogram(Box::new(histogram.clone()));
        self.push(family, attributes, value);
    }
}
