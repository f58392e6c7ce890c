//! The parts that tiers have in common, for the tiers of this project and for tiers of your own.
//!
//! A tier whose store has one user is a [private](super::Tier) tier; a store that several instances
//! use makes a [shared](super::SharedTier) one. The kit has the bookkeeping of both, so that a tier
//! is left with the operations of its store.
