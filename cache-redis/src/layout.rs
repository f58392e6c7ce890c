//! The number of shards that a namespace is laid out for, and whether all servers agree with it.
//!
//! The number is written into the history of each shard when that begins (`server`), and compared
//! whenever a link attaches (`commands/attach`). A shard that has a history of this layout needs no
//! other shard; one that has none looks at the others before it begins one (`other_layouts`). If a
//! shard finds another layout, no shard of the instance may serve, until that shard has looked
//! again and has not found it any more.
//!
//! # Invariants
//! 1. While one shard has found another layout, no shard has a link, except for a moment in which
//!    the links notice it.
//! 2. A shard that has found another layout may look again at any time. So the other layout keeps
//!    the instance away no longer than it exists.

use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};
use tokio::sync::watch;

use crate::keys::history_of;

/// The knowledge of the layout that the shards of one instance share.
#[derive(Debug)]
pub(crate) struct Layout {
    namespace: String,
    shards: u8,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The first attempt of shard 0 has ended.
    is_tried: bool,
    /// The shards that found another layout when they looked last, one bit for each.
    conflicts: u64,
    /// The error of the last of them.
    conflict: Option<Error>,
}

impl State {
    /// # Errors
    /// A shard found another layout.
    fn check(&self) -> Result<(), Error> {
        match &self.conflict {
            Some(conflict) if self.conflicts != 0 => Err(conflict.clone()),
            _ => Ok(()),
        }
    }
}

impl Layout {
    pub(crate) fn new(namespace: &str, shards: u8) -> Self {
        Self {
            namespace: namespace.to_owned(),
            shards,
            state: watch::Sender::default(),
        }
    }

    /// The number of shards that this instance is set to.
    pub(crate) fn shards(&self) -> u8 {
        self.shards
    }

    /// Lets a link of the shard be made. A shard that has found another layout looks again.
    ///
    /// # Errors
    /// Only other shards found another layout.
    pub(crate) fn admit(&self, shard: Shard) -> Result<(), Error> {
        let state = self.state.borrow();
        match state.conflicts & bit(shard) {
            0 => state.check(),
            _ => Ok(()),
        }
    }

    /// Notes that the shard looked and found no other layout.
    ///
    /// # Errors
    /// Another shard found one, so the link of this one must not be used.
    pub(crate) fn found_no_other(&self, shard: Shard) -> Result<(), Error> {
        let mut result = Ok(());
        self.state.send_if_modified(|state| {
            let before = state.conflicts;
            state.conflicts &= !bit(shard);
            if state.conflicts == 0 {
                state.conflict = None;
            }
            result = state.check();
            state.conflicts != before
        });
        result
    }

    /// Notes that an attempt of the shard to attach has ended. Only that of shard 0 is awaited.
    pub(crate) fn tried(&self, shard: Shard) {
        self.state.send_if_modified(|state| {
            let was_tried = state.is_tried;
            state.is_tried |= shard.index() == 0;
            state.is_tried != was_tried
        });
    }

    /// Waits until the first attempt of shard 0 has ended, if this is another shard that may need
    /// the first history of the namespace, which shard 0 begins.
    pub(crate) async fn first_tried(&self, shard: Shard) {
        if shard.index() != 0 {
            let mut state = self.state.subscribe();
            let _ = state.wait_for(|state| state.is_tried).await;
        }
    }

    /// Notes that `shard` found another layout, of `found` shards, and returns the error of it.
    pub(crate) fn conflicts(&self, shard: Shard, found: u8) -> Error {
        let of = |shards: u8| match shards {
            1 => "1 shard".to_owned(),
            shards => format!("{shards} shards"),
        };
        let problem = format!(
            "the namespace `{}` is laid out for {}, and this instance is set to {} \
             (`Redis::shards` or MULTI_TIER_CACHED_REDIS_SHARDS)",
            self.namespace,
            of(found),
            self.shards
        );
        let first = history_of(&self.namespace, 0);
        let keys = match found.saturating_sub(1) {
            0 => format!("its key `{first}` is"),
            last => format!(
                "all of its keys from `{first}` to `{}` are",
                history_of(&self.namespace, last)
            ),
        };
        let help = format!(
            "set `shards({found})` or MULTI_TIER_CACHED_REDIS_SHARDS={found}, or use another \
             namespace; to end a layout that no instance uses any more, stop all instances first: it \
             ends when {keys} deleted"
        );
        let error = Error::new(ErrorKind::Configuration, problem).with_help(help);
        self.state.send_modify(|state| {
            state.conflicts |= bit(shard);
            state.conflict = Some(error.clone());
        });
        error
    }

    /// Waits until a shard has found another layout. Returns at once if one has.
    pub(crate) async fn conflict(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.conflicts != 0).await;
    }
}

fn bit(shard: Shard) -> u64 {
    1 << shard.index()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn layout() -> (Layout, Vec<Shard>) {
        (Layout::new("shop", 4), Shard::all(4).unwrap())
    }

    fn is_ready(future: impl Future) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut cx).is_ready()
    }

    #[test]
    fn other_shards_wait_for_the_first_attempt_of_shard_0_alone() {
        let (layout, shards) = layout();
        assert!(is_ready(layout.first_tried(shards[0])), "it is the first");
        layout.tried(shards[1]);
        assert!(!is_ready(layout.first_tried(shards[1])), "not of shard 0");
        layout.tried(shards[0]);
        assert!(is_ready(layout.first_tried(shards[1])));
    }

    #[test]
    fn error_of_another_layout_names_the_settings_and_the_keys() {
        let (layout, shards) = layout();
        let text = layout.conflicts(shards[2], 8).to_string();
        for part in [
            "`shop`",
            "8 shards",
            "set to 4",
            "`Redis::shards`",
            "shards(8)",
            "MULTI_TIER_CACHED_REDIS_SHARDS=8",
            "stop all instances first",
            "`{shop:0}:#history` to `{shop:7}:#history`",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    /// Both shards were about to attach when the other layout appeared, so both found it.
    #[test]
    fn shards_that_found_another_layout_look_again_and_the_last_of_them_ends_the_wait() {
        let (layout, shards) = layout();
        assert!(!is_ready(layout.conflict()));
        layout.conflicts(shards[1], 8);
        layout.conflicts(shards[2], 8);
        assert!(is_ready(layout.conflict()));
        for (at, shard) in shards.iter().enumerate() {
            assert_eq!(layout.admit(*shard).is_ok(), [1, 2].contains(&at), "{at}");
        }
        layout.found_no_other(shards[1]).unwrap_err();
        layout.admit(shards[1]).unwrap_err();
        assert!(is_ready(layout.conflict()), "shard 2 has not looked yet");
        layout.admit(shards[2]).unwrap();
        layout.found_no_other(shards[2]).unwrap();
        assert!(!is_ready(layout.conflict()));
        for shard in shards {
            layout.admit(shard).unwrap();
        }
    }
}
