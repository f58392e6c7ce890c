//! The function of one id that has the key, the result and the options of a batch.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::spanned::Spanned;

use super::key::Mode;
use super::pieces::at;
use crate::function_path::FunctionPath;
use crate::model::Model;
use crate::names::{self, HandleNames};

/// The function that `same_as` names.
pub(super) struct Other<'a> {
    pub(super) model: &'a Model<'a>,
    pub(super) path: &'a FunctionPath,
}

impl Other<'_> {
    /// Renders the description of its result.
    pub(super) fn returns(&self) -> TokenStream {
        let returns = self.hidden("returns");
        let generics = &self.path.generics;
        quote!(#returns #generics)
    }

    /// Renders a call of its `__with_key`, with the arguments of the batch that are not skipped. An
    /// error of a type is reported at the argument.
    pub(super) fn with_key(&self, mode: &Mode<'_>) -> TokenStream {
        let (with_key, returns) = (self.hidden("with_key"), self.returns());
        let generics = self.path.generics.as_ref().map(|generics| {
            let given = generics.args.iter();
            quote!(::<#(#given,)* _, _>)
        });
        let receiver = self.model.function.sig.receiver();
        let receiver = receiver.filter(|_| self.path.is_method).map(|receiver| {
            let this = mode.receiver(receiver);
            quote!(#this,)
        });
        let item = mode.mode(self.model);
        let arguments = self.model.keyed_arguments().map(|argument| {
            let passed = mode.argument(&argument.ident);
            at(argument.ty.span(), &passed)
        });
        quote!(#with_key #generics(#receiver #item, #returns, #(#arguments),*))
    }

    pub(super) fn invalidate_all(&self) -> TokenStream {
        let names = match self.path.is_method {
            true => HandleNames::of_method(&self.path.function),
            false => HandleNames::of_free(&self.path.function),
        };
        let invalidate_all = self.path.item(names.invalidate_all);
        let generics = &self.path.generics;
        quote!(#invalidate_all #generics())
    }

    /// Returns the path of a hidden item beside the function. Errors are reported at the path that
    /// the user has written.
    fn hidden(&self, item: &str) -> TokenStream {
        let name: Ident = match self.path.is_method {
            true => names::hidden_of_method(&self.path.function, item),
            false => names::hidden(item),
        };
        at(self.path.span, &self.path.item(name))
    }
}
