//! The description of a function, as data that registers itself.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use crate::args::{Times, Ttl};
use crate::item::ItemKind;
use crate::model::{Model, Shown, TagPiece};

/// Generates the static slot of the function, and its registration:
///
/// ```text
/// static __SLOT: FunctionSlot = FunctionSlot::new(Definition {
///     name: Cow::Borrowed("users::find"), file: file!(), line: line!(), ttl: …,
///     version: 3,
///     ..Definition::DEFAULT
/// });
/// inventory::submit! { Registered::new(__SLOT.definition()) }
/// ```
///
/// The definition has the options that differ from the default only, so that an option which few
/// functions use costs nothing elsewhere.
pub(super) fn declaration(model: &Model<'_>) -> TokenStream {
    let facade = &model.facade;
    let private = quote!(#facade::__private);
    let name = match &model.name {
        Some(name) => quote!(#name),
        None => {
            let name = syn::ext::IdentExt::unraw(&model.function.sig.ident).to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #name))
        }
    };
    // The span is that of the user's function, so that `line!()` is its line and not the line of
    // the attribute.
    let line = quote_spanned!(model.function.sig.ident.span()=> ::core::line!());
    let ttl = ttl(model, &private);
    let options = options(model, &private);
    quote! {
        static __SLOT: #private::FunctionSlot = #private::FunctionSlot::new(#private::Definition {
            name: #private::Cow::Borrowed(#name),
            file: ::core::file!(),
            line: #line,
            ttl: #ttl,
            #(#options,)*
            ..#private::Definition::DEFAULT
        });
        #private::inventory::submit! { #private::Registered::new(__SLOT.definition()) }
    }
}

/// Generates the fields of the options that differ from the default.
fn options(model: &Model<'_>, private: &TokenStream) -> Vec<TokenStream> {
    let in_impl = model.kind != ItemKind::Free;
    let has_instances = in_impl || model.instance_parameters().next().is_some();
    let mut options = Vec::new();
    let flags = [
        ("is_named", model.name.is_some()),
        ("in_impl", in_impl),
        ("has_instances", has_instances),
        ("is_blocking", model.is_blocking),
    ];
    for (flag, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
        let flag = ident(flag);
        options.push(quote!(#flag: true));
    }
    if let Some(version) = model.version {
        options.push(quote!(version: #version));
    }
    if let Some(levels) = &model.tiers {
        let levels = levels.iter().map(|number| level(private, *number));
        options.push(some("tiers", quote!(#private::Levels::of(&[#(#levels),*]))));
    }
    if let Some(codec) = &model.codec {
        options.push(some("codec", quote!(#private::Cow::Borrowed(#codec))));
    }
    if !model.template.is_empty() {
        let pieces = model.template.iter().map(|shown| match shown {
            Shown::Literal(literal) => quote!(#private::Piece::Literal(#literal)),
            Shown::Part => quote!(#private::Piece::Argument),
        });
        options.push(quote!(template: &[#(#pieces),*]));
    }
    if !model.key.is_empty() {
        let names = model.key.iter().map(|part| &part.name);
        options.push(quote!(arguments: &[#(#names),*]));
    }
    if let Some(choice) = model.when_isolated.map(ident) {
        options.push(some(
            "when_isolated",
            quote!(#private::WhenIsolated::#choice),
        ));
    }
    if let Some(choice) = model.single_flight.map(ident) {
        options.push(quote!(single_flight: #private::SingleFlight::#choice));
    }
    if let Some(choice) = model.consistency.map(ident) {
        options.push(quote!(consistency: #private::Consistency::#choice));
    }
    options.extend(times(&model.times, private));
    options.extend(tags(model, private));
    options
}

/// Generates the field of the tags, if values of the function have any.
fn tags(model: &Model<'_>, private: &TokenStream) -> Option<TokenStream> {
    let tags = model.tags.as_ref()?.iter().map(|tag| {
        let pieces = tag.iter().map(|piece| match piece {
            TagPiece::Literal(literal) => quote!(#private::Piece::Literal(#literal)),
            TagPiece::Part(at) => quote!(#private::Piece::ArgumentAt(#at)),
        });
        quote!(&[#(#pieces),*])
    });
    Some(quote!(tags: #private::TagTemplates::declared(&[#(#tags),*])))
}

/// Generates the field of the times that the function has, if it has any.
fn times(times: &Times, private: &TokenStream) -> Option<TokenStream> {
    let durations = [
        ("stale_while_revalidate", &times.stale_while_revalidate),
        ("stale_if_error", &times.stale_if_error),
        ("soft_timeout", &times.soft_timeout),
        ("hard_timeout", &times.hard_timeout),
        ("load_limit", &times.load_limit),
        ("none_ttl", &times.none_ttl),
        ("error_ttl", &times.error_ttl),
    ];
    let other_fields = 2;
    let mut fields: Vec<_> = durations
        .iter()
        .filter_map(|(name, time)| Some(some(name, duration(time.as_ref()?.value))))
        .collect();
    if let Some(ahead) = &times.refresh_ahead {
        let ahead = match ahead.value.map(duration) {
            None => quote!(#private::RefreshAhead::Measured),
            Some(least) => quote!(#private::RefreshAhead::AtLeast(#least)),
        };
        fields.push(some("refresh_ahead", ahead));
    }
    if let Some(jitter) = &times.jitter {
        let percent = jitter.value;
        fields.push(some("jitter", quote!(#percent)));
    }
    // Clippy reports a rest that adds nothing.
    let is_complete = fields.len() == durations.len() + other_fields;
    let rest = (!is_complete).then(|| quote!(..#private::Times::NONE));
    let is_set = !fields.is_empty();
    is_set.then(|| quote!(times: #private::Times { #(#fields,)* #rest }))
}

fn ttl(model: &Model<'_>, private: &TokenStream) -> TokenStream {
    match &model.ttl {
        Ttl::Everywhere(ttl) => {
            let ttl = duration(*ttl);
            quote!(#private::Ttl::everywhere(#ttl))
        }
        Ttl::Policy(name) => quote!(#private::Ttl::policy(#name)),
        Ttl::Each(each) => {
            let each = each.iter().map(|(number, ttl, _)| {
                let (level, ttl) = (level(private, *number), duration(*ttl));
                quote!((#level, #ttl))
            });
            quote!(#private::Ttl::each(&[#(#each),*]))
        }
    }
}

/// Generates the field of an option that is `None` by default.
fn some(option: &str, value: TokenStream) -> TokenStream {
    let option = ident(option);
    quote!(#option: ::core::option::Option::Some(#value))
}

fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn level(private: &TokenStream, number: u8) -> TokenStream {
    let level = ident(&format!("L{number}"));
    quote!(#private::Level::#level)
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}
