//! Functions: their descriptions, their registry, and the form that is built without the attribute.

pub(crate) mod definition;
pub(crate) mod instantiation;
pub(crate) mod options;
pub(crate) mod overrides;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod slot;
pub(crate) mod tags;
pub(crate) mod times;
pub(crate) mod ttl;

pub(crate) mod builder;
pub(crate) mod built;
