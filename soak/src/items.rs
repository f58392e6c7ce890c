//! Keys and the functions that read them.
//!
//! A key is a number, an item. The range of an item says which function reads it.

use std::time::Duration;

/// A key of one of the functions.
pub type Item = u32;

/// Item whose propagation is measured.
pub const PROBE: Item = 0;

/// Version of each item before its first commit.
pub const FIRST_VERSION: u64 = 1;

/// First item of the strong function.
pub const STRONG: Item = 1_000;

/// First item that takes long to load.
pub const SLOW: Item = 2_000;

/// First item of the function that is served from memory while its instance is isolated.
pub const SERVING: Item = 3_000;

/// First item that is put by hand, each by one instance. The function with a bound reads them.
pub const PUT: Item = 4_000;

/// First item of the function that uses memory alone.
pub const MEMORY: Item = 5_000;

/// First item that is loaded within the bodies of another function. Each load takes more than ten
/// bounds.
pub const NESTED: Item = 6_000;

/// First item whose loads fail with an error that calls cannot share.
pub const FAILING: Item = 7_000;

/// First item of the function whose stale values are returned while a load replaces them.
pub const REVALIDATED: Item = 8_000;

/// First item of the function whose stale values are returned in place of failed loads, and whose
/// values are served from memory while their instance is isolated.
pub const STALE_IF_ERROR: Item = 9_000;

/// First item that is never invalidated. These are called when there is no fault.
pub const UNCHANGED: Item = 10_000;

/// Number of items of the function with a bound; the first is the probe.
pub const BOUNDED_ITEMS: Item = 48;

/// Number of items of the strong function.
pub const STRONG_ITEMS: Item = 12;

/// Number of items of the function that is served while its instance is isolated.
pub const SERVING_ITEMS: Item = 8;

/// Number of items that one instance puts by hand.
pub const PUT_ITEMS: Item = 4;

/// Largest number of instances whose items that are put by hand are read.
pub const WRITERS: Item = 4;

/// Number of items of the function that uses memory alone. The first half is never invalidated.
pub const MEMORY_ITEMS: Item = 12;

/// Number of items of each function with stale values.
pub const AGING_ITEMS: Item = 8;

/// Longest time for which a function with stale values returns a value after it was loaded, if it
/// is not invalidated: its ttl and its longest window.
pub const LONGEST_AGE: Duration = Duration::from_secs(9);

/// Number of unchanged items that are called continuously while there is no fault.
pub const HOT_ITEMS: Item = 32;

/// A cached function of the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Other instances may be behind by the bound.
    Bounded,
    /// No instance may be behind.
    Strong,
    /// Like `Bounded`, except on an instance that is isolated.
    Serving,
    /// Uses memory alone, so that only its own instance can invalidate it.
    Memory,
    /// Like `Bounded`, and its values expire soon. They are returned stale while a load in the
    /// background replaces them, or in place of a failed load.
    Revalidated,
    /// Like `Serving`, and its values expire soon. They are returned stale in place of a failed
    /// load.
    StaleIfError,
    /// A slow function that bodies of another function call.
    Nested,
    /// Each load fails.
    Failing,
    /// Its items are never invalidated, so each is loaded once.
    Unchanged,
}

/// Returns the function that reads an item.
#[must_use]
pub fn function_of(item: Item) -> Function {
    match item {
        STRONG..SLOW => Function::Strong,
        SERVING..PUT => Function::Serving,
        MEMORY..NESTED => Function::Memory,
        NESTED..FAILING => Function::Nested,
        FAILING..REVALIDATED => Function::Failing,
        REVALIDATED..STALE_IF_ERROR => Function::Revalidated,
        STALE_IF_ERROR..UNCHANGED => Function::StaleIfError,
        UNCHANGED.. => Function::Unchanged,
        _ => Function::Bounded,
    }
}

/// Returns all items that are read by name: without slow, failing and unchanged ones.
pub fn all_items() -> impl Iterator<Item = Item> {
    (0..BOUNDED_ITEMS)
        .chain(STRONG..STRONG + STRONG_ITEMS)
        .chain(SERVING..SERVING + SERVING_ITEMS)
        .chain(PUT..PUT + WRITERS * PUT_ITEMS)
        .chain(REVALIDATED..REVALIDATED + AGING_ITEMS)
        .chain(STALE_IF_ERROR..STALE_IF_ERROR + AGING_ITEMS)
}

/// Number of groups of tagged items. All items of a group carry one tag.
pub const GROUPS: Item = 8;

/// Returns the group of an item whose values carry the tag of a group.
#[must_use]
pub fn group_of(item: Item) -> Option<Item> {
    match function_of(item) {
        Function::Bounded | Function::Revalidated => Some(item % GROUPS),
        _ => None,
    }
}

/// Returns the items of a group that are read by name, without those that are put by hand: each of
/// these has one writer.
pub fn items_of_group(group: Item) -> impl Iterator<Item = Item> {
    let is_put = |item: &Item| (PUT..PUT + WRITERS * PUT_ITEMS).contains(item);
    all_items().filter(move |item| group_of(*item) == Some(group) && !is_put(item))
}

/// One item, all items of a function, or all items with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One item.
    One(Item),
    /// All items of the function that reads this one.
    FunctionOf(Item),
    /// All items of a group, by their tag.
    Group(Item),
}

impl Scope {
    /// Returns `true` if the scope includes an item.
    #[must_use]
    pub fn covers(self, item: Item) -> bool {
        match self {
            Self::One(one) => one == item,
            Self::FunctionOf(one) => function_of(one) == function_of(item),
            Self::Group(group) => group_of(item) == Some(group),
        }
    }
}
