//! Types and values at random, which serde writes and the decoder reads.
//!
//! A type is described by data, and a value of [`Random`] asks serde for the parts that the current
//! description has. So each case is another type to the tracer.

mod maker;
mod model;
mod reading;
mod writing;

use std::rc::Rc;

use fastrand::Rng;
use proptest::prelude::*;

use self::maker::{Filler, Maker};
use self::model::{CURRENT, Random};
use super::check_codecs;
use crate::codec::TracedType;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_value_of_a_random_type_is_decoded_as_serde_json_shows_it(
        seed in any::<u64>(),
        is_plain in any::<bool>(),
    ) {
        let schema = Rc::new(Maker::schema(seed, is_plain));
        CURRENT.set(Some(Rc::clone(&schema)));
        let traced = TracedType::of::<Random>();
        prop_assert!(traced.shape().traced, "{schema:#?}");
        let layout = traced.layout();
        let layout = layout.ok_or_else(|| TestCaseError::fail(format!("{schema:#?}")))?;
        let mut filler = Filler {
            rng: Rng::with_seed(seed ^ 1),
            schema: &schema,
            left: 60,
        };
        for _ in 0..4 {
            filler.left = 60;
            let value = Random(filler.value(&schema.value));
            check_codecs(&value, &layout, is_plain);
        }
    }
}
