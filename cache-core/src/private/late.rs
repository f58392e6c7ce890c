//! Arguments of a load that may continue in the background: the load owns them.

use std::borrow::Borrow;
use std::fmt;

/// An argument that a load in the background can own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept for a load in the background",
    label = "a load in the background owns a copy of this argument, which must be `Clone + Send + \
             Sync + 'static`",
    note = "derive `Clone`, or pass an `Arc`; a type parameter needs the bounds `Clone + Send + \
            Sync + 'static`"
)]
pub trait KeepArgument: Sync + 'static {
    /// The copy that the load owns.
    type Owned: Borrow<Self> + Send + 'static;

    /// Makes the copy.
    fn keep(&self) -> Self::Owned;
}

#[diagnostic::do_not_recommend]
impl<T> KeepArgument for T
where
    T: ToOwned<Owned: Send + 'static> + Sync + ?Sized + 'static,
{
    type Owned = T::Owned;

    fn keep(&self) -> T::Owned {
        self.to_owned()
    }
}

/// An argument that is passed by value and that a load in the background can own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept for a load in the background",
    label = "a load in the background owns this argument, which must be `Send + 'static`",
    note = "pass an `Arc` instead of an `Rc`; a type parameter needs the bounds `Send + 'static`"
)]
pub trait OwnArgument: Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + 'static> OwnArgument for T {}

/// The copy of a `T` that a load in the background owns.
///
/// It is boxed, so that its type has no bounds: if the argument cannot be kept, the uses of the
/// copy are no further errors.
pub struct Kept<T: ?Sized>(Box<dyn Borrow<T> + Send>);

impl<T: ?Sized> Kept<T> {
    /// Lends the argument to the body.
    #[inline]
    pub fn lend(&self) -> &T {
        (*self.0).borrow()
    }
}

impl<T: ?Sized> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Copies an argument that is passed by reference.
pub fn keep<T: KeepArgument + ?Sized>(argument: &T) -> Kept<T> {
    Kept(Box::new(argument.keep()))
}

/// Takes an argument that is passed by value.
#[inline]
pub fn own<T: OwnArgument>(argument: T) -> T {
    argument
}

/// Lends the ids that a load in the background owns to its body.
pub fn lend_all<O: Borrow<T>, T: ?Sized>(owned: &[O]) -> Vec<&T> {
    owned.iter().map(Borrow::borrow).collect()
}
