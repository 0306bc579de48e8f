// SPDX-License-Identifier: Apache-2.0
// The one translation unit that holds Boost.JSON's code; everybody else includes <boost/json.hpp> and links `json_dep`.
#include <boost/json/src.hpp>
