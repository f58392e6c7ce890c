//! A function as it is declared: its name, where it stands, what it asks.

use std::borrow::Cow;
use std::fmt;

use crate::function::ttl::{CoherencePolicy, Policy, Ttl};
use crate::key::Piece;
use crate::level::Level;

/// A declaration as an attribute expands to it: plain data, so that it can be a `static`.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an expansion writes every field; core and macros have one version"
)]
pub struct Declaration {
    /// Unique in the process, and the function's part of every record's key.
    pub name: &'static str,
    /// Where it stands, for errors.
    pub file: &'static str,
    /// Where it stands, for errors.
    pub line: u32,
    /// Whether the name was given, and is not the function's path.
    pub named: bool,
    /// Whether it stands in an `impl`: then its instances' names have the type in them, and two of one path are told apart.
    pub in_impl: bool,
    /// Whether it is one function for each choice of types, which then stand behind its name: it is generic, or in an `impl`.
    pub has_instances: bool,
    /// A new version orphans the records of the old.
    pub version: u32,
    /// How long its values are fresh.
    pub ttl: Ttl,
    /// In look-up order; `None` is all the runtime has.
    pub tiers: Option<&'static [Level]>,
    /// How records are written; `None` is the runtime's default.
    pub codec: Option<&'static str>,
    /// How shared tiers show the arguments; empty shows them all.
    pub template: &'static [Piece],
    /// What it asks of the agreement with other instances.
    pub coherence: CoherencePolicy,
    /// Whether it is a plain `fn`, whose calls wait on their threads.
    pub is_blocking: bool,
}

/// A function as it is declared, by attribute or by builder.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) name: Cow<'static, str>,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) named: bool,
    pub(crate) in_impl: bool,
    pub(crate) has_instances: bool,
    pub(crate) is_blocking: bool,
    pub(crate) policy: Policy,
}

impl Definition {
    pub(crate) const fn declared(declaration: Declaration) -> Self {
        let Declaration {
            name,
            file,
            line,
            named,
            in_impl,
            has_instances,
            version,
            ttl,
            tiers,
            codec,
            template,
            coherence,
            is_blocking,
        } = declaration;
        Self {
            name: Cow::Borrowed(name),
            file,
            line,
            named,
            in_impl,
            has_instances,
            is_blocking,
            policy: Policy {
                ttl,
                tiers: match tiers {
                    Some(tiers) => Some(Cow::Borrowed(tiers)),
                    None => None,
                },
                version,
                codec: match codec {
                    Some(codec) => Some(Cow::Borrowed(codec)),
                    None => None,
                },
                template,
                coherence,
            },
        }
    }
}

impl Definition {
    /// Whether it may have values below memory.
    pub(crate) fn has_records(&self) -> bool {
        self.policy.tiers.as_deref() != Some(&[Level::L1])
    }
}

/// Name and place, as errors and logs name a function.
impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}:{})", self.name, self.file, self.line)
    }
}
