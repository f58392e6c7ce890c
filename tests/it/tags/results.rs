//! Which tags a value has: those of its arguments, of the value and of the body. Results without a
//! value have tags too.

use std::time::Duration;

use multi_tier_cached::{Function, Tag, caching};
use testbed::Instance;

use super::{HOUR, Source, Subject, named, value};

#[tokio::test]
async fn value_is_found_by_each_of_its_tags_and_by_no_other() {
    for tag in [
        Source::Argument.tag(1),
        Source::Value.tag(1),
        Source::Body.tag(1),
        Tag::new("all"),
    ] {
        let subject = Subject::in_memory().await;
        for key in [1, 2] {
            assert_eq!(subject.version(key).await, 1);
        }
        subject.truth.commit();
        subject.invalidate(Tag::new("argument:12")).await;
        assert_eq!(subject.version(1).await, 1);
        subject.invalidate(tag).await;
        assert_eq!(subject.version(1).await, 2, "{tag:?}");
        let is_of_both = tag == Tag::new("all");
        let expected = if is_of_both { 2 } else { 1 };
        assert_eq!(subject.version(2).await, expected, "{tag:?}");
    }
}

/// Arguments of other integer types, and arguments that contain what a template contains.
#[tokio::test]
async fn argument_of_any_integer_type_makes_the_same_tag_and_no_text_makes_another() {
    let here = Instance::with_memory().await;
    let (numbers, texts) = (
        named().tags(["user:{0}"]).build().unwrap(),
        named().tags(["user:{0}"]).build().unwrap(),
    );
    let forged = "42";
    here.call(async {
        numbers.get_or_load((42_i8,), || async { 1 }).await;
        texts.get_or_load((forged,), || async { 1 }).await;
    })
    .await;
    here.invalidate(here.invalidate_tags([Tag::new("user:42")]))
        .await;
    here.call(async {
        assert_eq!(numbers.get_or_load((42_i8,), || async { 2 }).await, 2);
        assert_eq!(texts.get_or_load((forged,), || async { 2 }).await, 1);
    })
    .await;
}

/// A put has the tags of its arguments and its value.
#[tokio::test]
async fn value_that_is_put_has_tags() {
    for source in [Source::Argument, Source::Value] {
        let subject = Subject::in_memory().await;
        let handle = subject.function.entry((1_u64,));
        subject.here.call(handle.put(value(1, 7))).await.unwrap();
        assert_eq!(subject.version(1).await, 7);
        subject.invalidate(source.tag(1)).await;
        assert_eq!(subject.version(1).await, 1, "{source:?}");
    }
}

/// A kept absence and a kept error have the tags of the arguments and of the body.
#[tokio::test]
async fn kept_absence_and_kept_error_have_tags() {
    type Found = Result<Option<u64>, String>;
    let here = Instance::with_memory().await;
    let function: Function<u64, _> = named()
        .tags(["argument:{0}"])
        .none_ttl(HOUR)
        .error_ttl(Duration::from_secs(60))
        .error_if(|_: &String| true)
        .build()
        .unwrap();
    for first in [Found::Ok(None), Found::Err("down".to_owned())] {
        for tag in [Source::Argument.tag(1), Source::Body.tag(1)] {
            let find = |found: Found| {
                let loaded = function.get_or_load((1_u64,), || async {
                    assert!(caching::tag(Source::Body.tag(1)));
                    found
                });
                here.call(loaded)
            };
            here.invalidate(function.entry((1_u64,)).invalidate()).await;
            assert_eq!(find(first.clone()).await, first);
            assert_eq!(find(Ok(Some(7))).await, first, "it is kept");
            here.invalidate(here.invalidate_tags([tag])).await;
            assert_eq!(find(Ok(Some(7))).await, Ok(Some(7)), "{first:?}");
        }
    }
}

#[tokio::test]
async fn invalidations_of_tags_are_counted_for_the_runtime() {
    let subject = Subject::in_memory().await;
    subject.version(1).await;
    let tags = [Tag::new("a"), Tag::new("b"), Tag::new("a")];
    subject
        .here
        .invalidate(subject.here.invalidate_tags(tags))
        .await;
    subject
        .here
        .invalidate(subject.here.expire_tags([Tag::new("a")]))
        .await;
    let stats = subject.here.stats();
    assert_eq!((stats.tag_invalidations, stats.tag_expiries), (2, 1));
    let text = stats.to_string();
    assert!(text.contains("tags: 2 invalidated, 1 expired"), "{text}");
    let snapshot = subject.here.snapshot().await;
    assert_eq!(snapshot.tag_invalidations, 2);
}

/// An invalidation that is made outside acts on the runtime where it is polled.
#[tokio::test]
async fn invalidation_of_tags_that_generated_code_makes_acts_where_it_is_polled() {
    use multi_tier_cached::__private::{Piece, invalidate_tags, tag};
    let subject = Subject::in_memory().await;
    subject.version(1).await;
    subject.truth.commit();
    let template = [Piece::Literal("argument:"), Piece::Argument];
    let made = tag(
        &template,
        |parts: &mut multi_tier_cached::__private::Parts<'_>| {
            parts.add(&1_u8);
        },
    );
    assert_eq!(made, Source::Argument.tag(1));
    subject.here.invalidate(invalidate_tags([made])).await;
    assert_eq!(subject.version(1).await, 2);
}
