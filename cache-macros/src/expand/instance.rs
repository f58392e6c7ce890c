//! Which function a call is of, and which instance of it: the choice of its generic parameters and
//! of those of the type around it.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::GenericParam;

use super::pieces::{Hidden, private};
use crate::item::ItemKind;
use crate::model::Model;
use crate::names;

/// Renders the reference to the function, from outside of its slot.
pub(super) fn slot(model: &Model<'_>, hidden: &Hidden) -> TokenStream {
    let Hidden { owner, slot, .. } = hidden;
    instance(model, &quote!(#owner::#slot()))
}

/// Renders the reference to the function, whose slot is given, and to the instance of it.
pub(super) fn instance(model: &Model<'_>, slot: &TokenStream) -> TokenStream {
    let private = private(model);
    let this = (model.kind != ItemKind::Free).then(|| quote!(::core::marker::PhantomData::<Self>,));
    let parameters = model
        .instance_parameters()
        .map(|parameter| match parameter {
            GenericParam::Const(parameter) => {
                let ident = &parameter.ident;
                let constant = constant(model, ident);
                match model.kind {
                    ItemKind::Free => {
                        let name = &model.function.sig.ident;
                        quote!(#private::type_of(&#name::#constant::<#ident>),)
                    }
                    ItemKind::Method => quote!(#private::type_of(&Self::#constant::<#ident>),),
                    ItemKind::TraitImpl | ItemKind::BoxedTraitImpl => {
                        quote!(#private::type_of(&#constant::<#ident>),)
                    }
                }
            }
            GenericParam::Type(syn::TypeParam { ident, .. }) => {
                quote!(::core::marker::PhantomData::<#ident>,)
            }
            GenericParam::Lifetime(_) => TokenStream::new(),
        });
    // The type of a function inside of the method contains the trait and the type, which the
    // method's own name does not.
    let here = matches!(model.kind, ItemKind::TraitImpl | ItemKind::BoxedTraitImpl)
        .then(|| quote!(#private::type_of(&__here),));
    let types = quote!(#here #this #(#parameters)*);
    if types.is_empty() {
        quote!(#private::FunctionRef::new(#slot))
    } else {
        quote!(#private::FunctionRef::instance(#slot, &(#types)))
    }
}

fn constant(model: &Model<'_>, parameter: &Ident) -> Ident {
    match model.kind {
        ItemKind::Method => names::method_constant(&model.function.sig.ident, parameter),
        ItemKind::Free | ItemKind::TraitImpl | ItemKind::BoxedTraitImpl => {
            names::constant(parameter)
        }
    }
}

/// Renders a function for each const parameter, whose type stands for the parameter's value. Each
/// is rendered once: two functions of one name in two bodies would be two types.
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
