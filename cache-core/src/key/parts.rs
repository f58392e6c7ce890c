//! Encodes a list of arguments.

use std::fmt;

use serde::Serialize;

use super::KeyArgument;
use super::arguments::Arguments;
use super::encode::{Encoder, Refused};
use super::opaque::Opaque;
use super::replay::UnboundArguments;
use super::tag;
use crate::error::Error;

#[cold]
fn no_key(refused: Refused) -> Error {
    let problem = "the arguments cannot be encoded as a key";
    Error::with_source(crate::ErrorKind::Codec, problem, refused)
}

impl Arguments {
    /// Encodes a list of arguments, behind those that were written before.
    ///
    /// It writes in place. If it returned the bytes, they would be copied, and the copy would wait
    /// for the stores before it.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if a `Serialize` implementation refuses its
    /// value.
    #[inline]
    pub(crate) fn write(&mut self, list: impl ArgumentList) -> Result<(), Error> {
        list.encode(self).map_err(no_key)
    }

    /// Encodes a list of arguments. `seed` is that of the function.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn encode(list: impl ArgumentList, seed: u64) -> Result<Self, Error> {
        let mut bytes = Self::empty(seed);
        bytes.write(list)?;
        Ok(bytes)
    }

    /// Encodes a list of arguments for a function that is bound to a runtime later.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn unbound(list: impl ArgumentList) -> Result<UnboundArguments, Error> {
        let arguments = Self::encode(list, 0)?;
        Ok(UnboundArguments(arguments.as_bytes().into()))
    }
}

/// Encodes the arguments of a key, in order.
pub struct Parts<'a> {
    out: &'a mut Arguments,
    refused: Option<Refused>,
}

impl Parts<'_> {
    /// Adds an argument. Only this function requires that its type can be in a key, so a type that
    /// cannot is one compile error.
    #[inline]
    pub fn add<T: KeyArgument + ?Sized>(&mut self, argument: &T) {
        self.serialize(argument);
    }

    /// Adds an argument of type `impl Trait`. The name of its type is in the key too.
    #[inline]
    pub fn add_opaque<T: KeyArgument + ?Sized>(&mut self, argument: &T) {
        self.serialize(&Opaque(argument));
    }

    #[inline]
    fn serialize<T: Serialize + ?Sized>(&mut self, argument: &T) {
        if let Err(refused) = argument.serialize(&mut Encoder::new(self.out)) {
            self.refused = Some(refused);
        }
    }
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// The arguments of a call, in order.
pub trait ArgumentList {
    /// Encodes all of them.
    ///
    /// # Errors
    /// If a `Serialize` implementation refuses its value.
    fn encode(self, out: &mut Arguments) -> Result<(), Refused>;
}

impl<F: FnOnce(&mut Parts<'_>)> ArgumentList for F {
    #[inline]
    fn encode(self, out: &mut Arguments) -> Result<(), Refused> {
        out.open(tag::SEQUENCE);
        let mut parts = Parts { out, refused: None };
        self(&mut parts);
        parts.out.tag(tag::END);
        parts.refused.map_or(Ok(()), Err)
    }
}

/// A tuple of arguments.
pub(crate) struct Tuple<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> ArgumentList for Tuple<'_, T> {
    #[inline]
    fn encode(self, out: &mut Arguments) -> Result<(), Refused> {
        self.0.serialize(&mut Encoder::new(out))
    }
}
