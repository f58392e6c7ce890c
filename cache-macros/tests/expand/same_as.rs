impl<D: Database> Repo<D> {
    #[allow(clippy::used_underscore_binding)]
    pub async fn find_all<T: Row>(
        &self,
        names: Vec<&str>,
        filter: &Filter,
    ) -> BTreeMap<String, T> {
        ::multi_tier_cached::__private::batch(
                Self::__find_returns::<T>,
                &names,
                500usize,
                |__item, __id| Self::__find_with_key::<
                    T,
                    _,
                    _,
                >(self, __item, Self::__find_returns::<T>, __id, &filter),
                |__ids| { Self::__find_all_body::<T>(self, __ids, filter) },
            )
            .await
    }
    ///Returns the handle of one call of `find_all`, which does not begin.
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
    pub fn find_all_entry<'__ids, T: Row>(
        &self,
        names: Vec<&'__ids str>,
        filter: &Filter,
    ) -> ::multi_tier_cached::__private::BatchEntry<
        BTreeMap<String, T>,
        &'__ids str,
        impl ::core::future::Future<Output = BTreeMap<String, T>>,
    > {
        ::multi_tier_cached::__private::batch_entry(
            Self::__find_returns::<T>,
            &names,
            500usize,
            |__item, __id| Self::__find_with_key::<
                T,
                _,
                _,
            >(self, __item, Self::__find_returns::<T>, __id, &filter),
            { move |__ids| { Self::__find_all_body::<T>(self, __ids, filter) } },
        )
    }
    ///Invalidates the keys of some ids of `find_all` in every tier.
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
    pub fn find_all_invalidation<T: Row>(
        &self,
        names: Vec<&str>,
        filter: &Filter,
    ) -> ::multi_tier_cached::__private::Invalidation {
        ::multi_tier_cached::__private::batch_invalidation(
            Self::find_invalidate_all::<T>(),
            &names,
            |__item, __id| Self::__find_with_key::<
                T,
                _,
                _,
            >(self, __item, Self::__find_returns::<T>, __id, &filter),
        )
    }
    ///Invalidates every key of `find_all` in every tier.
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
    pub fn find_all_invalidate_all<T: Row>() -> ::multi_tier_cached::__private::Invalidation {
        Self::find_invalidate_all::<T>()
    }
    #[doc(hidden)]
    async fn __find_all_body<T: Row>(
        &self,
        names: Vec<&str>,
        filter: &Filter,
    ) -> BTreeMap<String, T> {
        self.db.find_all(names, filter).await
    }
}
