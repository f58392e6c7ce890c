//! The number of shards of a namespace as a model of which every state is searched.
//!
//! Instances that are set to different numbers of shards arrive in any order. An instance attaches
//! to the history of each of its shards, or begins one. Shards lose their data or their history
//! alone, and an operator removes the histories of a layout that no instance is set to any more.
//! Terms and steps are those of `layout.rs`, `connect.rs` and `attach.lua` in `cache-redis`.
//!
//! All instances use one key. It is in one shard of each layout, at different places. A call that
//! returns an old value is wrong if the invalidation was acknowledged, in whichever layout, before
//! the last barriers of the instance: the time between two barriers is less than the bound.
//!
//! An instance that no other layout stands in the way of any more must be able to come back: from
//! each state in which all histories are of its layout, it attaches to all of its shards by itself.
//!
//! What happens within a layout is left to the model of the [`protocol`](crate::protocol): here a
//! message arrives at once, and a load is one step. The following is not modelled:
//!
//! - A shard that loses its history between the look of an instance for other layouts and the
//!   moment at which the instance begins a history. These are a few round trips.
//! - An invalidation over a link whose data was removed, in the time until the next barrier. It is
//!   acknowledged, and another layout that begins in this time does not know of it.
//! - An eviction of the history of one shard, which the next barrier restores, while the server of
//!   another shard has lost its data.

mod config;
mod liveness;
pub mod scenarios;
mod search;
mod state;
mod steps;

pub use self::config::{LayoutGuards, Layouts, Losses, Wrong};
pub use self::search::{Outcome, search};
pub use self::state::State;
pub use self::steps::Step;
