//! Functions: their descriptions, their registry, and the form that is built without the attribute.

pub(crate) mod built;
pub(crate) mod definition;
pub(crate) mod overrides;
pub(crate) mod slot;
pub(crate) mod ttl;
