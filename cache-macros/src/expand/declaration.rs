//! What a function asks for, as data that registers itself.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::private;
use crate::args::Ttl;
use crate::item::ItemKind;
use crate::model::{Model, Shown};

/// The options as data, and their registration.
pub(super) fn declaration(model: &Model<'_>) -> TokenStream {
    let private = private(model);
    let name = match &model.name {
        Some(name) => quote!(#name),
        None => {
            let name = syn::ext::IdentExt::unraw(&model.function.sig.ident).to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #name))
        }
    };
    let in_impl = model.kind != ItemKind::Free;
    let has_instances = in_impl || model.instance_parameters().next().is_some();
    let is_blocking = model.is_blocking;
    let named = model.name.is_some();
    let version = model.version;
    let ttl = match &model.ttl {
        Ttl::Everywhere(ttl) => {
            let ttl = duration(*ttl);
            quote!(#private::Ttl::everywhere(#ttl))
        }
        Ttl::Policy(name) => quote!(#private::Ttl::policy(#name)),
        Ttl::Each(each) => {
            let each = each.iter().map(|(number, ttl, _)| {
                let (level, ttl) = (level(model, *number), duration(*ttl));
                quote!((#level, #ttl))
            });
            quote!(#private::Ttl::each(&[#(#each),*]))
        }
    };
    let tiers = match &model.tiers {
        None => quote!(::core::option::Option::None),
        Some(levels) => {
            let levels = levels.iter().map(|number| level(model, *number));
            quote!(::core::option::Option::Some(&[#(#levels),*]))
        }
    };
    let codec = match &model.codec {
        None => quote!(::core::option::Option::None),
        Some(codec) => quote!(::core::option::Option::Some(#codec)),
    };
    let template = model.template.iter().map(|shown| match shown {
        Shown::Literal(literal) => quote!(#private::Piece::Literal(#literal)),
        Shown::Part => quote!(#private::Piece::Argument),
    });
    let [single_flight, consistency] = model
        .coherence
        .map(|choice| Ident::new(choice, Span::call_site()));
    let when_isolated = match model.when_isolated {
        None => quote!(::core::option::Option::None),
        Some(choice) => {
            let choice = Ident::new(choice, Span::call_site());
            quote!(::core::option::Option::Some(#private::WhenIsolated::#choice))
        }
    };
    // The place of the user's function, not of this expansion.
    let line = quote_spanned!(model.function.sig.ident.span()=> ::core::line!());
    quote! {
        static __SLOT: #private::FunctionSlot = #private::FunctionSlot::new(#private::Declaration {
            name: #name,
            file: ::core::file!(),
            line: #line,
            named: #named,
            in_impl: #in_impl,
            has_instances: #has_instances,
            version: #version,
            ttl: #ttl,
            tiers: #tiers,
            codec: #codec,
            template: &[#(#template),*],
            coherence: #private::CoherencePolicy {
                when_isolated: #when_isolated,
                single_flight: #private::SingleFlight::#single_flight,
                consistency: #private::Consistency::#consistency,
            },
            is_blocking: #is_blocking,
        });
        #private::inventory::submit! { #private::Registered::new(&__SLOT) }
    }
}

fn duration(duration: std::time::Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn level(model: &Model<'_>, number: u8) -> TokenStream {
    let private = private(model);
    let number = Ident::new(&format!("L{number}"), Span::call_site());
    quote!(#private::Level::#number)
}
