impl<D: Database> Repo<D> {
    #[allow(clippy::used_underscore_binding)]
    pub async fn find<'a, T: Row>(
        &'a self,
        id: u64,
        names: &[&'static str],
        __arg2: &(u64, u64),
        filter: &&T,
    ) -> Option<T> {
        let __lookup = match Self::__find_with_key::<
            T,
            _,
            _,
        >(
            self,
            ::multi_tier_cached::__private::CallTimed,
            Self::__find_returns::<T>,
            &id,
            &names,
            &__arg2,
        ) {
            ::multi_tier_cached::__private::TimedLookup::Hit(__result) => return __result,
            __lookup => __lookup,
        };
        let __this = ::multi_tier_cached::__private::keep(self);
        let id = ::multi_tier_cached::__private::own(id);
        let names = ::multi_tier_cached::__private::keep(names);
        let __arg2 = ::multi_tier_cached::__private::keep(__arg2);
        let filter = ::multi_tier_cached::__private::keep(*filter);
        let __loading = match ::multi_tier_cached::__private::TimedLookup::load_late(
            __lookup,
            move || async move {
                Self::__find_body::<
                    T,
                >(__this.lend(), id, names.lend(), __arg2.lend(), &filter.lend())
                    .await
            },
        ) {
            ::multi_tier_cached::__private::LateCall::Answered(__result) => {
                return __result;
            }
            ::multi_tier_cached::__private::LateCall::Loading(__loading) => __loading,
        };
        __loading.await
    }
    ///Returns the handle of one call of `find`, which does not begin.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn find_entry<'a, T: Row>(
        &'a self,
        id: u64,
        names: &[&'static str],
        __arg2: &(u64, u64),
        filter: &&T,
    ) -> ::multi_tier_cached::__private::Call<
        Option<T>,
        impl ::core::future::Future<Output = Option<T>>,
    > {
        let __handle = Self::__find_with_key::<
            T,
            _,
            _,
        >(
            self,
            ::multi_tier_cached::__private::MakeHandle,
            Self::__find_returns::<T>,
            &id,
            &names,
            &__arg2,
        );
        ::multi_tier_cached::__private::call(
            __handle,
            Self::__find_body::<T>(self, id, names, __arg2, filter),
        )
    }
    ///Invalidates one key of `find` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn find_invalidation<'a, T: Row>(
        &'a self,
        id: u64,
        names: &[&'static str],
        __arg2: &(u64, u64),
        filter: &&T,
    ) -> ::multi_tier_cached::__private::Invalidation {
        Self::__find_with_key::<
            T,
            _,
            _,
        >(
            self,
            ::multi_tier_cached::__private::MakeInvalidation,
            Self::__find_returns::<T>,
            &id,
            &names,
            &__arg2,
        )
    }
    ///Invalidates every key of `find` in every tier.
    #[inline]
    #[allow(
        dead_code,
        non_snake_case,
        unused_variables,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    pub fn find_invalidate_all<'a, T: Row>() -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::FunctionRef::instance(
                Self::__find_slot(),
                &(::core::marker::PhantomData::<Self>, ::core::marker::PhantomData::<T>),
            )
            .invalidate_all()
    }
    #[doc(hidden)]
    #[inline]
    #[allow(
        unused_parens,
        unused_lifetimes,
        single_use_lifetimes,
        clippy::all,
        clippy::pedantic
    )]
    fn __find_with_key<
        'a,
        T: Row,
        __Spec: ::multi_tier_cached::__private::CachedResult<Result = Option<T>>,
        __Mode: ::multi_tier_cached::__private::CallMode<__Spec>,
    >(
        self: &'a Self,
        __mode: __Mode,
        __returned: __Spec,
        id: &u64,
        names: &&[&'static str],
        __arg2: &&(u64, u64),
    ) -> __Mode::Output {
        __mode
            .take(
                ::multi_tier_cached::__private::FunctionRef::instance(
                    Self::__find_slot(),
                    &(
                        ::core::marker::PhantomData::<Self>,
                        ::core::marker::PhantomData::<T>,
                    ),
                ),
                __returned,
                |__parts: &mut ::multi_tier_cached::__private::Parts<'_>| {
                    __parts.add(&(self.tenant));
                    __parts.add(id);
                    __parts.add(names);
                    __parts.add(__arg2);
                },
            )
    }
    #[doc(hidden)]
    #[inline]
    #[allow(unused_lifetimes, single_use_lifetimes, clippy::all, clippy::pedantic)]
    fn __find_returns<'a, T: Row>() -> impl ::multi_tier_cached::__private::CachedResult<
        Result = Option<T>,
    > {
        ::multi_tier_cached::__private::rule!(
            may_time_out() Option < T >, ::multi_tier_cached::__private::returns!(shared
            Option < T >)
        )
    }
    #[doc(hidden)]
    fn __find_slot() -> &'static ::multi_tier_cached::__private::FunctionSlot {
        static __SLOT: ::multi_tier_cached::__private::FunctionSlot = ::multi_tier_cached::__private::FunctionSlot::new(::multi_tier_cached::__private::Definition {
            name: ::multi_tier_cached::__private::Cow::Borrowed(
                ::core::concat!(::core::module_path!(), "::", "find"),
            ),
            file: ::core::file!(),
            line: ::core::line!(),
            ttl: ::multi_tier_cached::__private::Ttl::everywhere(
                ::core::time::Duration::new(300u64, 0u32),
            ),
            in_impl: true,
            has_instances: true,
            arguments: &["self.tenant", "id", "names", "_"],
            times: ::multi_tier_cached::__private::Times {
                refresh_ahead: ::core::option::Option::Some(
                    ::multi_tier_cached::__private::RefreshAhead::Measured,
                ),
                ..::multi_tier_cached::__private::Times::NONE
            },
            ..::multi_tier_cached::__private::Definition::DEFAULT
        });
        ::multi_tier_cached::__private::inventory::submit! {
            ::multi_tier_cached::__private::Registered::new(__SLOT.definition())
        }
        &__SLOT
    }
    #[doc(hidden)]
    async fn __find_body<'a, T: Row>(
        &'a self,
        mut id: u64,
        names: &[&'static str],
        &(from, to): &(u64, u64),
        filter: &&T,
    ) -> Option<T> {
        id += from;
        self.db.find(id, names, to, filter).await
    }
}
