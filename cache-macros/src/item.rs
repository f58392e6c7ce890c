//! The annotated function: its signature parsed, its body as tokens, so that a half-typed one expands too.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{
    Attribute, GenericArgument, PathArguments, ReturnType, Signature, Token, Type, TypeParamBound,
    Visibility,
};

pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// Braces and all.
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig: Signature = input.parse().map_err(|error| {
            syn::Error::new(
                error.span(),
                format!("only a function can be cached: {error}"),
            )
        })?;
        if input.peek(Token![;]) {
            return Err(syn::Error::new_spanned(
                &sig.ident,
                "a declaration has no body to cache: annotate the method in the `impl`",
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
    /// What the function returns, with the type inside where `#[async_trait]` boxed it.
    pub(crate) fn returned(&self) -> Option<&Type> {
        match &self.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, returned) if self.is_boxed() => boxed_output(returned),
            ReturnType::Type(_, returned) => Some(returned),
        }
    }

    /// Whether this is what `#[async_trait]` makes of an `async fn`: a plain one that returns a boxed future.
    pub(crate) fn is_boxed(&self) -> bool {
        self.sig.asyncness.is_none()
            && matches!(&self.sig.output, ReturnType::Type(_, returned) if boxed_output(returned).is_some())
    }

    /// Another `#[multi_tier_cached]` on the same function.
    pub(crate) fn cached_again(&self) -> Option<&Attribute> {
        self.attrs.iter().find(|attr| {
            let last = attr.path().segments.last();
            last.is_some_and(|last| last.ident == "multi_tier_cached")
        })
    }

    /// Whether signature or body speaks of `Self`: then it stands in an `impl`.
    pub(crate) fn mentions_self_type(&self) -> bool {
        fn search(tokens: TokenStream) -> bool {
            let mut nested_item = false;
            tokens.into_iter().any(|token| match token {
                TokenTree::Ident(ident) if ident == "impl" || ident == "trait" => {
                    nested_item = true;
                    false
                }
                TokenTree::Ident(ident) => ident == "Self",
                // An item inside the body has a `Self` of its own.
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    !std::mem::take(&mut nested_item) && search(group.stream())
                }
                TokenTree::Group(group) => search(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => false,
            })
        }
        search(self.sig.to_token_stream()) || search(self.body.stream())
    }

    /// The attributes of the body: conditions and lint levels. What is expected of the signature is not met in it.
    pub(crate) fn body_attrs(&self) -> TokenStream {
        self.lint_attrs(|expect| !of_the_signature(expect))
    }

    /// The attributes of what stands beside it, in which nothing that is expected is met.
    pub(crate) fn shared_attrs(&self) -> TokenStream {
        self.lint_attrs(|_| false)
    }

    /// Conditions and lint levels, with an `expect` turned into an `allow` where it is not met.
    fn lint_attrs(&self, met: impl Fn(&Attribute) -> bool) -> TokenStream {
        let attrs = self.attrs.iter().filter_map(|attr| {
            let is = |names: &[&str]| names.iter().any(|name| attr.path().is_ident(name));
            if is(&["expect"]) && !met(attr) {
                return Some(allowed(attr));
            }
            is(&[
                "cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid",
            ])
            .then(|| attr.to_token_stream())
        });
        quote!(#(#attrs)*)
    }

    /// The attributes of the function itself, whose body is elsewhere.
    pub(crate) fn outer_attrs(&self) -> impl Iterator<Item = TokenStream> {
        self.attrs.iter().map(|attr| {
            if attr.path().is_ident("expect") && !of_the_signature(attr) {
                allowed(attr)
            } else {
                attr.to_token_stream()
            }
        })
    }
}

/// Lints that look at a function's signature, or whether it is used; all others look at its body.
const OF_THE_SIGNATURE: &[&str] = &[
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

fn of_the_signature(expect: &Attribute) -> bool {
    expect
        .meta
        .to_token_stream()
        .into_iter()
        .any(|token| match token {
            TokenTree::Group(lints) => lints.stream().into_iter().any(|token| match token {
                TokenTree::Ident(lint) => OF_THE_SIGNATURE.iter().any(|name| lint == name),
                _ => false,
            }),
            _ => false,
        })
}

/// `#[expect(..)]` as `#[allow(..)]`.
fn allowed(expect: &Attribute) -> TokenStream {
    match &expect.meta {
        syn::Meta::List(list) => {
            let lints = &list.tokens;
            quote!(#[allow(#lints)])
        }
        _ => TokenStream::new(),
    }
}

/// `R` of `Pin<Box<dyn Future<Output = R> + …>>`.
fn boxed_output(returned: &Type) -> Option<&Type> {
    let boxed = only_argument(only_argument(returned, "Pin")?, "Box")?;
    let Type::TraitObject(object) = boxed else {
        return None;
    };
    object.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let last = bound
            .path
            .segments
            .last()
            .filter(|last| last.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else {
            return None;
        };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => Some(&output.ty),
            _ => None,
        })
    })
}

/// The first argument of a type of that name.
fn only_argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    }
}

/// What makes a type unfit as a cached value, by its look.
#[derive(Default)]
pub(crate) struct Unfit<'a> {
    /// `impl Trait`: it has no name to be stored by.
    pub(crate) opaque: Option<&'a syn::TypeImplTrait>,
    /// A reference to what the caller owns, or a lifetime that stands for one (`Cow<'_, str>`).
    pub(crate) borrowed: Option<Span>,
    /// A reference that lives for ever: what is read back from a tier does not.
    pub(crate) forever: Option<Span>,
    /// A lifetime with a name, which an error may have and a value may not.
    pub(crate) named: Option<Span>,
}

impl<'a> Unfit<'a> {
    pub(crate) fn of(ty: &'a Type) -> Self {
        let mut unfit = Self::default();
        unfit.visit_type(ty);
        unfit
    }

    /// Of what is kept: the first type inside a `Result`, the whole of any other.
    pub(crate) fn of_value(ty: &'a Type) -> Self {
        Self::of(only_argument(ty, "Result").unwrap_or(ty))
    }
}

impl<'a> Visit<'a> for Unfit<'a> {
    fn visit_type_impl_trait(&mut self, opaque: &'a syn::TypeImplTrait) {
        self.opaque.get_or_insert(opaque);
    }

    fn visit_type_reference(&mut self, reference: &'a syn::TypeReference) {
        if reference
            .lifetime
            .as_ref()
            .is_none_or(|lifetime| lifetime.ident != "static")
        {
            self.borrowed.get_or_insert_with(|| reference.span());
        } else {
            self.forever.get_or_insert_with(|| reference.span());
        }
        syn::visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'a syn::Lifetime) {
        if lifetime.ident == "_" {
            self.borrowed.get_or_insert_with(|| lifetime.span());
        } else if lifetime.ident != "static" {
            self.named.get_or_insert_with(|| lifetime.span());
        }
    }
}

/// Whether a type is, or holds, a set that iterates in no fixed order.
pub(crate) fn unordered_set(ty: &Type) -> Option<&syn::Ident> {
    struct Search<'a>(Option<&'a syn::Ident>);
    impl<'a> Visit<'a> for Search<'a> {
        fn visit_path_segment(&mut self, segment: &'a syn::PathSegment) {
            if segment.ident == "HashSet" {
                self.0.get_or_insert(&segment.ident);
            }
            syn::visit::visit_path_segment(self, segment);
        }
    }
    let mut search = Search(None);
    search.visit_type(ty);
    search.0
}
