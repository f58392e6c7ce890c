//! The annotated function. Its signature is parsed; its body stays tokens, so that a half-typed
//! body expands too.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Pat, ReturnType, Signature, Token, Type, Visibility};

use crate::types::boxed_output;

/// Where a function is, which decides which items can be generated beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// Outside of any `impl`: a struct of its name.
    Free,
    /// In an `impl`: associated functions.
    Method,
    /// In the `impl` of a trait: none.
    TraitImpl,
    /// A method in the `impl` of a trait, after `#[async_trait]`: a plain function that returns a
    /// boxed future.
    BoxedTraitImpl,
}

/// An argument other than `self`.
pub(crate) struct Argument<'a> {
    /// The name under which it is passed on.
    pub(crate) ident: Ident,
    pub(crate) pat: &'a Pat,
    pub(crate) ty: &'a Type,
    /// Set if the pattern is just that name.
    pub(crate) simple: bool,
}

/// A function as it is written.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// With its braces.
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig: Signature = input.parse().map_err(|error| {
            syn::Error::new(error.span(), format!("the item is not a function: {error}"))
        })?;
        if input.peek(Token![;]) {
            return Err(syn::Error::new_spanned(
                &sig.ident,
                "the function has no body to cache; help: annotate the method in the `impl`",
            ));
        }
        let body: Group = input.parse()?;
        Ok(Self {
            attrs,
            vis,
            sig,
            body,
        })
    }
}

impl Function {
    /// Returns the type that the function returns: the type inside if `#[async_trait]` boxed it.
    pub(crate) fn returned(&self) -> Option<&Type> {
        match &self.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, returned) if self.is_boxed() => boxed_output(returned),
            ReturnType::Type(_, returned) => Some(returned),
        }
    }

    /// Returns `true` if this is what `#[async_trait]` makes from an `async fn`: a plain function
    /// that returns a boxed future.
    pub(crate) fn is_boxed(&self) -> bool {
        let ReturnType::Type(_, returned) = &self.sig.output else {
            return false;
        };
        self.sig.asyncness.is_none() && boxed_output(returned).is_some()
    }

    /// Returns another `#[multi_tier_cached]` on the same function, if there is one.
    pub(crate) fn cached_again(&self) -> Option<&Attribute> {
        self.attrs.iter().find(|attr| {
            let last = attr.path().segments.last();
            last.is_some_and(|last| last.ident == "multi_tier_cached")
        })
    }

    /// Returns `true` if the signature or the body names `Self`: then the function is in an `impl`.
    pub(crate) fn mentions_self_type(&self) -> bool {
        names_self_type(self.sig.to_token_stream()) || names_self_type(self.body.stream())
    }

    /// The attributes of the function that has the body: conditions and lint levels. Lints of the
    /// signature are not raised in it, so what is expected of them is allowed instead.
    pub(crate) fn body_attrs(&self) -> TokenStream {
        self.lint_attrs(|expect| !is_of_signature(expect))
    }

    /// The attributes of the other generated items. No expected lint is raised in them, so all are
    /// allowed instead.
    pub(crate) fn shared_attrs(&self) -> TokenStream {
        self.lint_attrs(|_| false)
    }

    /// Conditions and lint levels, where an `expect` for which `is_met` is not `true` becomes an
    /// `allow`.
    fn lint_attrs(&self, is_met: impl Fn(&Attribute) -> bool) -> TokenStream {
        let attrs = self.attrs.iter().filter_map(|attr| {
            let is = |names: &[&str]| names.iter().any(|name| attr.path().is_ident(name));
            if is(&["expect"]) && !is_met(attr) {
                return Some(allowed(attr));
            }
            is(&[
                "cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid",
            ])
            .then(|| attr.to_token_stream())
        });
        quote!(#(#attrs)*)
    }

    /// The attributes of the function under the user's name, whose body is elsewhere.
    pub(crate) fn outer_attrs(&self) -> impl Iterator<Item = TokenStream> {
        self.attrs.iter().map(|attr| {
            if attr.path().is_ident("expect") && !is_of_signature(attr) {
                allowed(attr)
            } else {
                attr.to_token_stream()
            }
        })
    }
}

/// Returns `true` if the tokens name `Self`, outside of items that have a `Self` of their own.
pub(crate) fn names_self_type(tokens: TokenStream) -> bool {
    let mut nested_item = false;
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) if ident == "impl" || ident == "trait" => {
            nested_item = true;
            false
        }
        TokenTree::Ident(ident) => ident == "Self",
        // An item inside of the body has a `Self` of its own.
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            !std::mem::take(&mut nested_item) && names_self_type(group.stream())
        }
        TokenTree::Group(group) => names_self_type(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Lints of a function's signature, or of its use. All others are lints of its body.
const SIGNATURE_LINTS: &[&str] = &[
    "dead_code",
    "deprecated",
    "non_snake_case",
    "private_bounds",
    "private_interfaces",
    "single_use_lifetimes",
    "unreachable_pub",
    "unused_lifetimes",
    "fn_params_excessive_bools",
    "needless_pass_by_value",
    "ptr_arg",
    "too_many_arguments",
    "trivially_copy_pass_by_ref",
    "type_complexity",
    "wrong_self_convention",
];

fn is_of_signature(expect: &Attribute) -> bool {
    expect
        .meta
        .to_token_stream()
        .into_iter()
        .any(|token| match token {
            TokenTree::Group(lints) => lints.stream().into_iter().any(|token| match token {
                TokenTree::Ident(lint) => SIGNATURE_LINTS.iter().any(|name| lint == name),
                _ => false,
            }),
            _ => false,
        })
}

/// Turns `#[expect(..)]` into `#[allow(..)]`.
fn allowed(expect: &Attribute) -> TokenStream {
    match &expect.meta {
        syn::Meta::List(list) => {
            let lints = &list.tokens;
            quote!(#[allow(#lints)])
        }
        _ => TokenStream::new(),
    }
}
