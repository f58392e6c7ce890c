//! Decisions that a body makes about its own result: `caching::keep_for(..)` and others.
//!
//! They concern the innermost load of the task. The task finds it through a thread-local variable
//! that is set while the body is polled, so that a body needs no argument for it. A task that the
//! body spawns is outside of the load.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Span;

use crate::entry::Held;
use crate::flight::{Entered, LoadScope};
use crate::function::ttl::LONGEST_TTL;
use crate::tag::{Tag, TagSet};

/// Sets the time to live of the value that this load returns, in all tiers, in place of the
/// function's `ttl` and `ttl_from`. Zero: the value is not kept. At most 365 days.
///
/// The time counts from when the body returns. A tier with a `ttl_scale` scales it, as it does the
/// function's ttl. Returns `false`, and does nothing, outside of a load whose value is kept.
///
/// ```
/// # use std::time::Duration;
/// # use cache_core as multi_tier_cached;
/// use multi_tier_cached::caching;
///
/// async fn get_token() -> String {
///     let (token, expires_in) = ("secret".to_owned(), Duration::from_secs(300));
///     caching::keep_for(expires_in);
///     token
/// }
/// # assert!(!caching::keep_for(Duration::from_secs(1)));
/// ```
pub fn keep_for(ttl: Duration) -> bool {
    note(|decisions| decisions.ttl = Some(ttl.min(LONGEST_TTL)))
}

/// Adds a tag to the result of this load, by which it can be invalidated or expired, in addition to
/// the tags that the function declares.
///
/// For tags that only the body knows, such as the ids of the rows that it joined. A value can have
/// 64 tags; one with more is returned to its callers and kept nowhere.
///
/// Returns `false` outside of a load whose value is kept. It also returns `false` in a function
/// that declares no tags, and the value is then kept nowhere, because an invalidation of the tag
/// would not find it: declare `tags = []`. Both are counted in
/// [`FunctionStats::tag_errors`](crate::FunctionStats::tag_errors), and logged once.
///
/// ```
/// # use cache_core as multi_tier_cached;
/// use multi_tier_cached::{Tag, caching};
///
/// async fn get_invoice() -> String {
///     let customer = 7;
///     caching::tag(Tag::new(format!("customer:{customer}")));
///     format!("invoice of {customer}")
/// }
/// # assert!(!caching::tag(Tag::new("all")));
/// ```
pub fn tag(tag: Tag) -> bool {
    let Some(notes) = here() else { return false };
    let mut decisions = notes.lock();
    match notes.takes_tags {
        true => decisions.tags.add(tag.digest()),
        false => decisions.is_untaggable = true,
    }
    notes.takes_tags
}

/// Does not keep the result of this load. The callers that wait for it still get it. If the load
/// was to replace a value, that value is invalidated.
///
/// Returns `false` outside of a load whose value is kept.
pub fn skip() -> bool {
    note(|decisions| decisions.is_skipped = true)
}

/// Treats this load as failed, though it returns a value: the callers get the stale value if there
/// is one that `stale_if_error` allows, and otherwise what the body returns. Nothing is kept, and
/// the key is backed off as after an error.
///
/// Returns `false` outside of a load whose value is kept.
pub fn failed() -> bool {
    note(|decisions| decisions.is_failed = true)
}

/// Returns the value that this load is to replace, if the function has a stale window or refreshes
/// ahead and the value is known here. `V` is the type of the value that the function keeps.
///
/// For conditional requests: if the source answers that the value has not changed, the body
/// returns this value, which is fresh again.
#[must_use]
pub fn stale<V: 'static>() -> Option<V> {
    let notes = here()?;
    let replaced = notes.replaced.as_ref()?;
    let give: &fn(Held) -> Option<V> = replaced.give.downcast_ref()?;
    give(Arc::clone(&replaced.held))
}

/// The decisions of a body so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decisions {
    /// The value's own ttl.
    pub(crate) ttl: Option<Duration>,
    pub(crate) is_skipped: bool,
    pub(crate) is_failed: bool,
    pub(crate) tags: TagSet,
    /// The body has tagged the result of a function that declares no tags.
    pub(crate) is_untaggable: bool,
}

/// The value that a load is to replace.
pub(crate) struct ReplacedValue {
    pub(crate) held: Held,
    /// The `fn(Held) -> Option<V>` of the value type.
    pub(crate) give: Box<dyn Any + Send + Sync>,
}

/// The decisions of one body, and what it may know.
pub(crate) struct BodyNotes {
    replaced: Option<ReplacedValue>,
    /// The function declares tags.
    takes_tags: bool,
    /// The lock is held for a copy. It is never held across an await.
    decisions: Mutex<Decisions>,
}

impl BodyNotes {
    pub(crate) fn new(replaced: Option<ReplacedValue>, takes_tags: bool) -> Arc<Self> {
        Arc::new(Self {
            replaced,
            takes_tags,
            decisions: Mutex::default(),
        })
    }

    /// Returns what the body has decided so far.
    pub(crate) fn decisions(&self) -> Decisions {
        self.lock().clone()
    }

    /// Returns `true` if the body has said that it failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.lock().is_failed
    }

    fn lock(&self) -> MutexGuard<'_, Decisions> {
        self.decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BodyNotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyNotes({:?})", self.decisions())
    }
}

thread_local! {
    /// The notes of the innermost body that this thread polls. `None` outside of a load, and in a
    /// body whose value is not kept.
    static HERE: RefCell<Option<Arc<BodyNotes>>> = const { RefCell::new(None) };
}

fn here() -> Option<Arc<BodyNotes>> {
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
}

fn note(decide: impl FnOnce(&mut Decisions)) -> bool {
    let Some(notes) = here() else { return false };
    decide(&mut notes.lock());
    true
}

/// The scope of a body: each poll of it is [entered](Self::enter).
#[derive(Debug)]
pub(crate) struct BodyScope {
    /// The span of the body.
    span: Option<Span>,
    load: LoadScope,
    notes: Option<Arc<BodyNotes>>,
}

impl BodyScope {
    /// `notes` is `None` for a body whose value is not kept.
    pub(crate) fn new(load: LoadScope, notes: Option<Arc<BodyNotes>>) -> Self {
        Self {
            span: None,
            load,
            notes,
        }
    }

    /// Sets the span in which the body is polled.
    pub(crate) fn in_span(mut self, span: Option<&Span>) -> Self {
        self.span = span.cloned();
        self
    }

    /// The scope of a body outside of every flight, whose value is not kept. Its decisions do not
    /// concern the load around it.
    pub(crate) fn unkept() -> Self {
        Self::new(LoadScope::of(None, None), None)
    }

    /// Marks this thread as one that polls the body, until the result is dropped.
    pub(crate) fn enter(&mut self) -> EnteredBody<'_> {
        exchange(&mut self.notes);
        EnteredBody {
            _span: self.span.as_ref().map(Span::enter),
            _load: self.load.enter(),
            notes: &mut self.notes,
        }
    }
}

/// A poll of a body. Also a panic ends it.
pub(crate) struct EnteredBody<'a> {
    _span: Option<tracing::span::Entered<'a>>,
    _load: Entered<'a>,
    notes: &'a mut Option<Arc<BodyNotes>>,
}

impl Drop for EnteredBody<'_> {
    fn drop(&mut self) {
        exchange(self.notes);
    }
}

fn exchange(notes: &mut Option<Arc<BodyNotes>>) {
    // The thread may be ending; nothing is polled on it any more.
    let _ = HERE.try_with(|here| std::mem::swap(&mut *here.borrow_mut(), notes));
}
