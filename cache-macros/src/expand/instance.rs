//! Which function it is, and which instance of it: all that a generic function, or the type around it, can be of.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::GenericParam;

use super::{Beside, private};
use crate::model::{Model, Place};
use crate::names;

pub(super) fn slot(model: &Model<'_>, beside: &Beside) -> TokenStream {
    let Beside { owner, slot, .. } = beside;
    instance(model, &quote!(#owner::#slot()))
}

/// Function and instance: all that a generic function, or the type around it, can be of.
pub(super) fn instance(model: &Model<'_>, slot: &TokenStream) -> TokenStream {
    let private = private(model);
    let this = (model.place != Place::Free).then(|| quote!(::core::marker::PhantomData::<Self>,));
    let parameters = model
        .instance_parameters()
        .map(|parameter| match parameter {
            GenericParam::Const(parameter) => {
                let ident = &parameter.ident;
                let constant = constant(model, ident);
                match model.place {
                    Place::Free => {
                        let name = &model.function.sig.ident;
                        quote!(#private::type_of(&#name::#constant::<#ident>),)
                    }
                    Place::Method => quote!(#private::type_of(&Self::#constant::<#ident>),),
                    Place::TraitImpl | Place::BoxedTraitImpl => {
                        quote!(#private::type_of(&#constant::<#ident>),)
                    }
                }
            }
            GenericParam::Type(syn::TypeParam { ident, .. }) => {
                quote!(::core::marker::PhantomData::<#ident>,)
            }
            GenericParam::Lifetime(_) => TokenStream::new(),
        });
    // A function inside the method is named after trait and type, which the method alone is not.
    let here = matches!(model.place, Place::TraitImpl | Place::BoxedTraitImpl)
        .then(|| quote!(#private::type_of(&__here),));
    let types = quote!(#here #this #(#parameters)*);
    if types.is_empty() {
        quote!(#private::FunctionRef::new(#slot))
    } else {
        quote!(#private::FunctionRef::instance(#slot, &(#types)))
    }
}

pub(super) fn constant(model: &Model<'_>, parameter: &Ident) -> Ident {
    match model.place {
        Place::Method => names::method_constant(&model.function.sig.ident, parameter),
        Place::Free | Place::TraitImpl | Place::BoxedTraitImpl => names::constant(parameter),
    }
}

/// A function for each const parameter, whose type stands for the parameter's value. One for all uses: two of one name in
/// two bodies would be two types.
pub(super) fn constants(model: &Model<'_>) -> TokenStream {
    model
        .instance_parameters()
        .filter_map(|parameter| match parameter {
            GenericParam::Const(parameter) => {
                let name = constant(model, &parameter.ident);
                let ty = &parameter.ty;
                Some(quote! {
                    #[doc(hidden)]
                    #[allow(non_snake_case, dead_code)]
                    fn #name<const N: #ty>() {}
                })
            }
            GenericParam::Type(_) | GenericParam::Lifetime(_) => None,
        })
        .collect()
}
